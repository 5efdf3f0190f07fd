package throttle

// What was used up in the last 24 hours, remembered across restarts.

import (
	"context"
	"encoding/json"
	"time"
)

// Storage keeps what a restart must not forget: what was read and written
// today, and which limits a server has taught. Its methods may be called from
// several goroutines.
type Storage interface {
	// Load returns what was saved under the key, or nil.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save replaces what is saved under the key.
	Save(ctx context.Context, key string, value []byte) error
}

const (
	hours     = 24
	saveEvery = 10 * time.Second

	// forget is how long a limit that a server has taught is kept: people change
	// the settings of servers too.
	forget = 30 * 24 * time.Hour
)

// usage counts octets by hour. The sum over the last 24 hours, the present one
// included, is what counts against a day's budget: providers do not say when
// their day begins, and a sum over any 24 hours is right for all of them.
type usage struct {
	Hours map[int64]int64 // by hours since 1970
}

func hourOf(now time.Time) int64 { return now.Unix() / 3600 }

func (u *usage) add(now time.Time, n int64) {
	if u.Hours == nil {
		u.Hours = make(map[int64]int64)
	}
	h := hourOf(now)
	if _, ok := u.Hours[h]; !ok {
		for old := range u.Hours {
			if old <= h-hours {
				delete(u.Hours, old)
			}
		}
	}
	u.Hours[h] += n
}

// sum returns what was used in the last 24 hours.
func (u *usage) sum(now time.Time) int64 {
	var total int64
	h := hourOf(now)
	for hour, n := range u.Hours {
		if hour > h-hours {
			total += n
		}
	}
	return total
}

// until returns when less than the budget will have been used in 24 hours;
// now, if that is so already.
func (u *usage) until(now time.Time, budget int64) time.Time {
	total := u.sum(now)
	if budget <= 0 || total < budget {
		return now
	}
	h := hourOf(now)
	for hour := h - hours + 1; hour <= h; hour++ {
		if total -= u.Hours[hour]; total < budget {
			return time.Unix((hour+hours)*3600, 0)
		}
	}
	return time.Unix((h+hours)*3600, 0)
}

// saved is what is saved of an account or a host.
type saved struct {
	Read    usage
	Written usage
	Cap     int // learned from a refusal; 0: none
	Learned time.Time
}

func (s *saved) load(data []byte) {
	var v saved
	if json.Unmarshal(data, &v) != nil {
		return // as good as lost
	}
	if time.Since(v.Learned) > forget {
		v.Cap = 0
	}
	*s = v
}

// worth reports whether there is something that a restart must not forget.
func (s *saved) worth(b Budget) bool { return s.Cap > 0 || b.ReadDay > 0 || b.WriteDay > 0 }

func (s *saved) bytes() []byte {
	data, _ := json.Marshal(s) // of maps and numbers
	return data
}
