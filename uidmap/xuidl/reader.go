package xuidl

import (
	"context"
	"iter"

	"github.com/mailhaul/mailhaul"
)

// reader reads messages without their X-UIDL fields, so that one that was
// written with another is compared as if it were the same.
type reader struct{ mailhaul.Reader }

// Unwrap returns the Reader that is decorated.
func (r *reader) Unwrap() mailhaul.Reader { return r.Reader }

// Fetch implements [mailhaul.Reader].
func (r *reader) Fetch(ctx context.Context, set mailhaul.UIDSet, stream bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	bodies, err := r.Reader.Fetch(ctx, set, stream)
	if err != nil {
		return nil, err
	}
	return func(yield func(mailhaul.Fetched, error) bool) {
		for f, err := range bodies {
			if err == nil {
				f.Body, _, _, err = alter(f.Body, "")
				if err != nil {
					f.Body.Release()
					f = mailhaul.Fetched{}
				}
			}
			if !yield(f, err) {
				return
			}
		}
	}, nil
}

// clean is a Source whose messages have no X-UIDL fields.
type clean struct{ mailhaul.Source }

// Clean returns a Source that reads what s does, but for the X-UIDL fields of
// the messages. With it, the source's own fields make no difference to a
// comparison with a Target of this package, be the message ever so empty.
// Without it a message that had such fields is recognised by its text, and
// listed as altered. Closing it closes s.
func Clean(s mailhaul.Source) mailhaul.Source { return clean{s} }

// Unwrap returns the Source that is decorated.
func (c clean) Unwrap() mailhaul.Source { return c.Source }

// OpenReader implements [mailhaul.Source].
func (c clean) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := c.Source.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	return &reader{r}, nil
}

// OpenListed implements [mailhaul.ListedOpener].
func (c clean) OpenListed(ctx context.Context, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, []mailhaul.Message, error) {
	return openListed(ctx, c.Source, m, fields)
}

// openListed opens a mailbox of s, and describes it where s can do that at once.
func openListed(ctx context.Context, s mailhaul.Source, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, []mailhaul.Message, error) {
	var r mailhaul.Reader
	var listed []mailhaul.Message
	var err error
	if o, ok := s.(mailhaul.ListedOpener); ok {
		r, listed, err = o.OpenListed(ctx, m, fields)
	} else {
		r, err = s.OpenReader(ctx, m)
	}
	if err != nil {
		return nil, nil, err
	}
	return &reader{r}, listed, nil
}
