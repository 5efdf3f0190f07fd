package saslx

// SCRAM-SHA-256 (RFC 5802, RFC 7677).

import (
	"errors"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"

	"github.com/mailhaul/mailhaul"
)

// maxIterations bounds the work that a server can ask for; a million rounds
// take about half a second, and nothing can interrupt them.
const maxIterations = 1_000_000

// scramClient checks what xdg-go/scram does not, and words its errors.
type scramClient struct {
	srv  mailhaul.Server
	conv *scram.ClientConversation
	step int
	said string // the server's error value
}

func newScram(srv mailhaul.Server, secret mailhaul.Secret) (*scramClient, error) {
	c, err := scram.SHA256.NewClient(srv.User, secret.Reveal(), srv.AuthzID)
	if err != nil {
		// SASLprep does not know characters younger than Unicode 3.2; servers
		// that let a user have such a password do not ask it.
		c, err = scram.SHA256.NewClientUnprepped(srv.User, secret.Reveal(), srv.AuthzID)
	}
	if err != nil {
		return nil, failure(srv, "", "the password cannot be used for %s", ScramSHA256)
	}
	return &scramClient{srv: srv, conv: c.NewConversation()}, nil
}

func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.conv.Step("")
	if err != nil {
		return "", nil, s.fail(err)
	}
	return ScramSHA256, []byte(first), nil
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	s.step++
	text := string(challenge)
	switch {
	case s.step > 2 || s.said != "":
		return nil, unexpected(s.srv, challenge)
	case strings.HasPrefix(text, "e="):
		// The protocol's own refusal follows.
		s.said = quote(text[len("e="):])
		return []byte{}, nil
	case s.step == 1:
		if err := s.checkIterations(text); err != nil {
			return nil, err
		}
	}
	response, err := s.conv.Step(text)
	if err != nil {
		return nil, s.fail(err)
	}
	return []byte(response), nil
}

// checkIterations reads the count of the server-first-message where the
// library reads it, before the library acts on it.
func (s *scramClient) checkIterations(serverFirst string) error {
	fields := strings.Split(serverFirst, ",")
	if len(fields) < 3 {
		return failure(s.srv, "", "the server's challenge %s is no SCRAM message", quote(serverFirst))
	}
	count, ok := strings.CutPrefix(fields[2], "i=")
	n, err := strconv.Atoi(count)
	switch {
	case !ok || err != nil && !errors.Is(err, strconv.ErrRange):
		return failure(s.srv, "", "the server's challenge %s is no SCRAM message", quote(serverFirst))
	case err != nil || n > maxIterations:
		return failure(s.srv, "the server may not be what it claims to be", "the server asks for %.20s SCRAM iterations, and %d is the limit here", count, maxIterations)
	}
	return nil
}

// fail hides the library's words, which quote the server's without care.
func (s *scramClient) fail(err error) error {
	if s.step == 2 {
		return failure(s.srv, "the server may not be what it claims to be", "the server did not prove that it knows the password (%s)", quote(err.Error()))
	}
	return failure(s.srv, "", "%s failed: %s", ScramSHA256, quote(err.Error()))
}

func (s *scramClient) reason() string { return s.said }

// verify holds the server to its half of the proof: a success without the
// server's signature may come from someone who never knew the password.
func (s *scramClient) verify() error {
	if !s.conv.Valid() {
		return failure(s.srv, "the server may not be what it claims to be", "the server did not prove that it knows the password")
	}
	return nil
}
