// The server's side of the SASL mechanisms.

package imapserver

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xdg-go/scram"
)

// mechanism is one exchange. next takes a response of the client and returns
// either a challenge, or the user, or an error. Where the client does not speak
// first, the first response is nil.
type mechanism struct {
	clientFirst bool
	next        func(response []byte) (challenge []byte, u *User, err error)
}

var errAuth = errors.New("authentication failed")

func (s *Server) mechanism(name string) mechanism {
	switch name {
	case "PLAIN":
		return mechanism{true, s.plain}
	case "LOGIN":
		return s.saslLogin()
	case "CRAM-MD5":
		return s.cramMD5()
	case "SCRAM-SHA-256":
		return s.scram()
	case "XOAUTH2":
		return s.bearer("\x01auth=Bearer ", func(r string) string {
			user, _, _ := strings.Cut(strings.TrimPrefix(r, "user="), "\x01")
			return user
		})
	case "OAUTHBEARER":
		return s.bearer("\x01auth=Bearer ", func(r string) string {
			_, user, _ := strings.Cut(r, "a=")
			user, _, _ = strings.Cut(user, ",")
			return user
		})
	case "EXTERNAL":
		return mechanism{true, func(r []byte) ([]byte, *User, error) {
			u := s.User(string(r))
			return nil, u, errUnless(u != nil)
		}}
	}
	return mechanism{}
}

func errUnless(fine bool) error {
	if fine {
		return nil
	}
	return errAuth
}

// verify returns the user if the password is right.
func (s *Server) verify(name, password string) (*User, error) {
	if u := s.User(name); u != nil && u.checkPassword(password) {
		return u, nil
	}
	return nil, errAuth
}

func (s *Server) plain(response []byte) ([]byte, *User, error) {
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, nil, errAuth
	}
	authz, name, password := string(parts[0]), string(parts[1]), string(parts[2])
	u, err := s.verify(name, password)
	if err != nil || authz == "" || authz == name {
		return nil, u, err
	}
	other := s.User(authz)
	return nil, other, errUnless(u.master && other != nil)
}

func (s *Server) saslLogin() mechanism {
	step, name := 0, ""
	return mechanism{false, func(response []byte) ([]byte, *User, error) {
		step++
		switch {
		case step == 1 && response == nil:
			return []byte("Username:"), nil, nil
		case name == "":
			if name = string(response); name == "" {
				return nil, nil, errAuth
			}
			return []byte("Password:"), nil, nil
		}
		u, err := s.verify(name, string(response))
		return nil, u, err
	}}
}

func (s *Server) cramMD5() mechanism {
	var challenge []byte
	return mechanism{false, func(response []byte) ([]byte, *User, error) {
		if challenge == nil {
			challenge = fmt.Appendf(nil, "<%d@mailhaul.test>", time.Now().UnixNano())
			return challenge, nil, nil
		}
		i := bytes.LastIndexByte(response, ' ')
		if i < 0 {
			return nil, nil, errAuth
		}
		u := s.User(string(response[:i]))
		if u == nil {
			return nil, nil, errAuth
		}
		s.mu.Lock()
		mac := hmac.New(md5.New, []byte(u.password))
		s.mu.Unlock()
		mac.Write(challenge)
		return nil, u, errUnless(hex.EncodeToString(mac.Sum(nil)) == string(response[i+1:]))
	}}
}

func (s *Server) scram() mechanism {
	var name string
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		u := s.User(user)
		if u == nil {
			return scram.StoredCredentials{}, errAuth
		}
		s.mu.Lock()
		password := u.password
		s.mu.Unlock()
		client, err := scram.SHA256.NewClient(user, password, "")
		if err != nil {
			return scram.StoredCredentials{}, err
		}
		name = user
		return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "mailhaul test salt", Iters: 4096})
	})
	if err != nil {
		return mechanism{}
	}
	conv := server.NewConversation()
	return mechanism{true, func(response []byte) ([]byte, *User, error) {
		if conv.Done() {
			return nil, s.User(name), errUnless(conv.Valid() && s.User(name) != nil)
		}
		text, err := conv.Step(string(response))
		return []byte(text), nil, err
	}}
}

// bearer serves the two OAuth mechanisms: after a wrong token they send a
// challenge that explains, and fail at the response to it (RFC 7628 section 3.2.3).
func (s *Server) bearer(marker string, userOf func(string) string) mechanism {
	refused := false
	return mechanism{true, func(response []byte) ([]byte, *User, error) {
		if refused {
			return nil, nil, errAuth
		}
		_, token, _ := strings.Cut(string(response), marker)
		token, _, _ = strings.Cut(token, "\x01")
		if u, err := s.verify(userOf(string(response)), token); err == nil {
			return nil, u, nil
		}
		refused = true
		return []byte(`{"status":"401","schemes":"bearer","scope":"mail"}`), nil, nil
	}}
}
