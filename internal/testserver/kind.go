// What a server must say of itself to be started.

package testserver

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Kind is one mail server program, with its options set.
type Kind interface {
	// Name is what the server is called in messages and in the cache folder,
	// such as "dovecot".
	Name() string

	// Packages are the Debian packages that hold it.
	Packages() []string

	// Find returns an error where the server is not on this machine.
	Find() error

	// Services are what it listens on; each gets a port of its own.
	Services() []Service

	// Configure writes the configuration and the accounts below in.Root, which
	// is empty, and says what to run.
	Configure(in *Instance) (Command, error)

	// AddUser makes an account, or changes its password. The server may be
	// running.
	AddUser(in *Instance, u User) error
}

// Service is something that a server listens on.
type Service string

const (
	IMAP        Service = "imap"
	IMAPS       Service = "imaps"
	POP3        Service = "pop3"
	POP3S       Service = "pop3s"
	Doveadm     Service = "doveadm"      // Dovecot's own protocol
	DoveadmS    Service = "doveadms"     // the same, with implicit TLS
	DoveadmHTTP Service = "doveadm-http" // Dovecot's HTTP API
)

// greets reports whether the server speaks first, in the clear.
func (s Service) greets() bool { return s == IMAP || s == POP3 }

// Instance is what a [Kind] is told of the one server that it configures.
type Instance struct {
	// Root is a directory of the instance's own: mode 0755, its ancestors
	// traversable by everyone, its path short enough for Unix sockets below.
	Root string

	// Host is the address to listen on; Host6 too, unless it is empty because
	// the machine has no IPv6.
	Host, Host6 string

	// CertFile and KeyFile are the server's certificate and key, in PEM.
	CertFile, KeyFile string

	// Users are the accounts so far.
	Users []User

	ports map[Service]int
}

// Port returns where the service is to listen.
func (in *Instance) Port(s Service) int { return in.ports[s] }

// Addr returns where the service is reached.
func (in *Instance) Addr(s Service) string {
	return net.JoinHostPort(in.Host, strconv.Itoa(in.ports[s]))
}

// User is an account of a server.
type User struct{ Name, Password string }

// Command is the server's program, to be run in the foreground. All processes
// that it starts must stay in its process group, or, with Namespace, in its
// PID namespace.
type Command struct {
	Path string
	Args []string // without the program's name
	Env  []string // nil for none: nothing of the test's environment leaks in

	// Namespace runs the program as the init of mount and PID namespaces of
	// its own, so that it may mount over /usr and /etc, and so that nothing
	// that it starts can outlive it.
	Namespace bool

	// StartTimeout is how long it may take until all services greet. Default
	// 20 s, which allows for a machine that is very busy.
	StartTimeout time.Duration
}

// CacheDir returns the folder below which unpacked servers lie. It need not
// exist.
func CacheDir() (string, error) {
	if dir := os.Getenv("MAILHAUL_SERVER_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "mailhaul"), nil
}

// Unpacked returns the folder that holds the unpacked packages of the named
// server, with usr below it, or an error where it has not been made.
func Unpacked(kind string) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, kind)
	if _, err := os.Stat(filepath.Join(dir, "usr")); err != nil {
		return "", err
	}
	return dir, nil
}
