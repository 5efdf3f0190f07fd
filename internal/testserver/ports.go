// Free ports that no other test takes in the meantime, whichever process it
// is in.

package testserver

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come in blocks of portBlock from a range below 32768, where Linux
// takes the ports of outgoing connections from: while one is being polled that
// nobody listens on yet, the kernel may choose that very port as the
// connection's own, and the connection reaches itself.
const (
	firstPort = 12000
	lastPort  = 32767
	portBlock = 8
)

// portClaim holds a block of ports until it is closed.
type portClaim struct {
	first int
	lock  io.Closer
}

func (c *portClaim) Close() error { return c.lock.Close() }

// claimPorts finds n ports that nobody listens on, and keeps everyone else
// that uses this package from taking them. The claim is an abstract Unix
// socket named after the block: binding it succeeds once on the machine (in a
// network namespace, to be exact, which is how far ports reach too), it leaves
// no file behind, and the kernel gives it up when the process dies.
func claimPorts(n int, hosts ...string) (*portClaim, error) {
	if n > portBlock {
		return nil, fmt.Errorf("%d ports asked for, a block has %d", n, portBlock)
	}
	const blocks = (lastPort + 1 - firstPort) / portBlock
	start := rand.IntN(blocks)
	for i := range blocks {
		first := firstPort + (start+i)%blocks*portBlock
		lock, err := net.Listen("unix", fmt.Sprintf("@mailhaul-test-ports-%d", first))
		if err != nil {
			continue
		}
		if portsFree(first, n, hosts) {
			return &portClaim{first, lock}, nil
		}
		lock.Close()
	}
	return nil, errors.New("no free ports")
}

// portsFree reports whether nobody listens on any of the ports: a program that
// knows nothing of claims may be there.
func portsFree(first, n int, hosts []string) bool {
	for _, host := range hosts {
		for port := first; port < first+n; port++ {
			l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
			if err != nil {
				return false
			}
			l.Close()
		}
	}
	return true
}

// hasIPv6 reports whether ::1 can be listened on.
func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}
