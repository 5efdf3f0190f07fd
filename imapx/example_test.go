package imapx_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// letter is a message at hand.
type letter string

func (l letter) Size() int64       { return int64(len(l)) }
func (l letter) Reader() io.Reader { return strings.NewReader(string(l)) }
func (l letter) Buffered() bool    { return true }
func (l letter) Release()          {}

// A message goes into a mailbox and comes out again.
func Example() {
	// A server in memory. A real one needs Host, User and Credentials only.
	server := imapserver.New(imapserver.Options{})
	defer server.Close()
	server.AddUser("ada", "secret")

	ctx := context.Background()
	client, err := imapx.New(imapx.Config{Server: mailhaul.Server{
		Host: "localhost", User: "ada", Security: mailhaul.Plaintext, Dial: server.Dial,
		Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("secret"), nil },
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	if err := move(ctx, client); err != nil {
		fmt.Println(err)
	}
	// Output:
	// stored as UID 1
	// INBOX: 0 messages
	// Letters/2024: 1 messages
	// UID 1: "Subject: hello\r\n\r\nworld\r\n"
}

func move(ctx context.Context, client *imapx.Client) error {
	box, err := client.Create(ctx, []string{"Letters", "2024"}, mailhaul.RoleNone)
	if err != nil {
		return err
	}
	writer, err := client.OpenWriter(ctx, box)
	if err != nil {
		return err
	}
	receipt, err := writer.Append(ctx, []mailhaul.Outgoing{{Body: letter("Subject: hello\r\n\r\nworld\r\n")}})
	if err != nil {
		return err
	}
	outcomes, err := receipt.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Println("stored as UID", outcomes[0].UID)
	if err := writer.Close(); err != nil {
		return err
	}

	listing, err := client.List(ctx)
	if err != nil {
		return err
	}
	for _, m := range listing.Mailboxes {
		if !m.NoSelect {
			fmt.Printf("%s: %d messages\n", m.Name, m.Status.Messages)
		}
	}

	reader, err := client.OpenReader(ctx, box)
	if err != nil {
		return err
	}
	defer reader.Close()
	uids, err := reader.UIDs(ctx)
	if err != nil {
		return err
	}
	bodies, err := reader.Fetch(ctx, uids, false)
	if err != nil {
		return err
	}
	for f, err := range bodies {
		if err != nil {
			return err
		}
		text, err := io.ReadAll(f.Body.Reader())
		if err != nil {
			return err
		}
		fmt.Printf("UID %d: %q\n", f.UID, text)
		f.Body.Release()
	}
	return nil
}
