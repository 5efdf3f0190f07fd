package lineup

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// answer is a Receipt.
type answer struct {
	outcomes []mailhaul.Outcome
	err      error
}

func (a answer) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	if a.outcomes == nil && a.err == nil {
		<-ctx.Done()
		return make([]mailhaul.Outcome, 1), ctx.Err()
	}
	return a.outcomes, a.err
}

func stored(uids ...mailhaul.UID) answer {
	var a answer
	for _, u := range uids {
		a.outcomes = append(a.outcomes, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: u})
	}
	return a
}

func slots(own ...int) (s []Slot) {
	for _, o := range own {
		s = append(s, Slot{Own: o})
	}
	return s
}

func TestExpectationsFollowTheAnswers(t *testing.T) {
	var offs []int64
	l := New(10, func(_ Slot, _ mailhaul.Outcome, off int64) { offs = append(offs, off) })
	r := l.NewReceipt(3)
	r.Take(l.Add(stored(10, 11), slots(0, -1)))
	r.Take(l.Add(stored(14, 15), slots(1, -1))) // somebody took two
	later := l.NewReceipt(1)
	later.Take(l.Add(stored(16), slots(0)))
	require.EqualValues(t, 15, l.Next())
	r.Leave(2, errors.New("not sent"))
	outcomes, err := later.Wait(t.Context()) // settles what is before
	require.NoError(t, err)
	require.EqualValues(t, 16, outcomes[0].UID)
	require.Equal(t, []int64{0, 0, 2, 0, 0}, offs)
	require.EqualValues(t, 17, l.Next())
	outcomes, err = r.Wait(t.Context())
	require.EqualError(t, err, "not sent")
	require.EqualValues(t, 10, outcomes[0].UID)
	require.EqualValues(t, 14, outcomes[1].UID)
	require.Equal(t, mailhaul.NotStored, outcomes[2].Delivery)
	require.NoError(t, l.Drain(t.Context()))
}

func TestRefusedMessages(t *testing.T) {
	refused := answer{outcomes: []mailhaul.Outcome{{Delivery: mailhaul.Stored, UID: 1}, {Delivery: mailhaul.NotStored}, {Delivery: mailhaul.Stored, UID: 2}}}
	l := New(1, nil)
	l.Add(refused, slots(0, 1, 2))
	require.NoError(t, l.Drain(t.Context()))
	require.EqualValues(t, 3, l.Next(), "its UID goes to the one behind it")

	held := answer{outcomes: []mailhaul.Outcome{{Delivery: mailhaul.Stored, UID: 3}, {Delivery: mailhaul.NotStored}, {Delivery: mailhaul.Stored, UID: 5}}}
	s := slots(0, 1, 2)
	s[1].Want = 4
	l.Hold(4)
	l.Add(held, s)
	require.NoError(t, l.Drain(t.Context()))
	require.EqualValues(t, 6, l.Next(), "something else has it")
	require.True(t, l.Held(4))

	l.Below = func(want mailhaul.UID) bool { return want == 8 }
	s = slots(0, 1)
	s[0].Gap, s[1].Want = 1, 8
	l.Add(answer{outcomes: []mailhaul.Outcome{{Delivery: mailhaul.Stored, UID: 7}, {Delivery: mailhaul.NotStored}}}, s)
	require.NoError(t, l.Drain(t.Context()))
	require.EqualValues(t, 9, l.Next())
}

// TestNothingIsBuiltOnWhatIsNotKnown: where an answer is not to be had, Drain
// says so for ever; where only the wait was given up, it does not.
func TestNothingIsBuiltOnWhatIsNotKnown(t *testing.T) {
	l := New(1, nil)
	l.Add(stored(1), slots(0))
	lost := errors.New("lost")
	l.Add(answer{outcomes: []mailhaul.Outcome{{}}, err: lost}, slots(0))
	require.ErrorIs(t, l.Drain(t.Context()), lost)
	require.ErrorIs(t, l.Drain(t.Context()), lost)

	l = New(1, nil)
	r := l.NewReceipt(1)
	r.Take(l.Add(answer{}, slots(0)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	outcomes, err := r.Wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, outcomes, 1)
	require.Equal(t, mailhaul.DeliveryUnknown, outcomes[0].Delivery)
	require.ErrorIs(t, l.Drain(ctx), context.Canceled)
	require.NoError(t, l.lost, "the answer may still come")
}
