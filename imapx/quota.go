package imapx

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// Quota implements [mailhaul.QuotaTeller] by GETQUOTAROOT of INBOX (RFC 9208
// section 4.1.2). Where several roots limit the mailbox, the one with the least
// room counts.
func (cl *Client) Quota(ctx context.Context) (mailhaul.Quota, error) {
	room := mailhaul.Quota{Bytes: -1, Messages: -1}
	err := cl.with(ctx, opQuota, "", func(c *conn) error {
		if !c.can("QUOTA") {
			return fmt.Errorf("the quota: %w", mailhaul.ErrUnsupported)
		}
		cmd := c.command(opQuota, "GETQUOTAROOT INBOX")
		var resources []wire.QuotaResource
		cmd.wants = func(event any) bool {
			switch e := event.(type) {
			case quotaRootEvent:
			case quotaEvent:
				resources = append(resources, e...)
			default:
				return false
			}
			return true
		}
		if _, err := c.run(ctx, cmd); err != nil {
			return err
		}
		for _, r := range resources {
			switch r.Name {
			case "STORAGE": // in units of 1024 octets
				room.Bytes = least(room.Bytes, (min(r.Limit, 1<<52)-min(r.Usage, 1<<52))*1024)
			case "MESSAGE":
				room.Messages = least(room.Messages, r.Limit-r.Usage)
			}
		}
		return nil
	})
	if err != nil {
		return mailhaul.Quota{}, err
	}
	return room, nil
}

// least returns the smaller room, where a negative one so far is none.
func least(sofar, room int64) int64 {
	room = max(room, 0)
	if sofar < 0 {
		return room
	}
	return min(sofar, room)
}

// AppendLimit implements [mailhaul.AppendLimiter] (RFC 7889). Where each
// mailbox has a limit of its own, that of INBOX is returned; Writers go by
// theirs.
func (cl *Client) AppendLimit(ctx context.Context) (int64, error) {
	var limit int64
	err := cl.with(ctx, opStatus, "", func(c *conn) (err error) {
		limit, err = c.appendLimit(ctx, "INBOX")
		return err
	})
	return limit, err
}

// appendLimit returns the largest message that the mailbox takes, 0 where the
// server does not say.
func (c *conn) appendLimit(ctx context.Context, wireName string) (int64, error) {
	limit, perMailbox := c.capabilities().appendLimit()
	if !perMailbox {
		return limit, nil
	}
	cmd := c.statusCommand(wireName, "(APPENDLIMIT)", func(s *wire.MailboxStatus) { limit = s.AppendLimit })
	if _, err := c.run(ctx, cmd); err != nil && condOf(err) == 0 {
		return 0, err
	}
	return limit, nil
}
