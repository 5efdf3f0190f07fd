//go:build unix

// Timing passes that find nothing to do, over an account that would take too
// long to be copied anew for each.

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mailhaul/mailhaul/internal/bench"
)

// copied is a tool with the copy that it has made.
type copied struct {
	tool
	target bench.User
	dir    string
}

// unchanged lets each tool copy the account once, with no network in between,
// and then times passes over it.
func (r *rig) unchanged(ctx context.Context, distances []time.Duration) error {
	var all []copied
	for _, t := range r.tools {
		c := copied{tool: t, dir: filepath.Join(r.dir, t.name)}
		var err error
		if c.target, err = r.lab.User(r.to); err != nil {
			return err
		}
		if err := os.Mkdir(c.dir, 0o700); err != nil {
			return err
		}
		if _, err := r.pass(ctx, c, 0, "copy"); err != nil {
			return err
		}
		all = append(all, c)
	}
	for _, rtt := range distances {
		// What remembers a server by its address does not know these yet.
		for _, c := range all {
			if _, err := r.pass(ctx, c, rtt, "first look"); err != nil {
				return err
			}
		}
		for n := range *runs {
			for i := range all {
				c := all[(i+n)%len(all)]
				s, err := r.pass(ctx, c, rtt, "nothing to do")
				if err != nil {
					return err
				}
				k := key{c.name, rtt, 1}
				r.times[k] = append(r.times[k], s)
			}
		}
	}
	for _, c := range all {
		if err := r.verify(c.tool, c.target); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	r.print(distances)
	return nil
}

// pass runs a tool once.
func (r *rig) pass(ctx context.Context, c copied, rtt time.Duration, what string) (s sample, err error) {
	from, err := r.lab.Network(r.source, rtt)
	if err != nil {
		return s, err
	}
	to, err := r.lab.Network(c.target, rtt)
	if err != nil {
		return s, err
	}
	before, err := r.lab.Traffic(c.target, rtt)
	if err != nil {
		return s, err
	}
	cmd, err := c.command(c.dir, from, to)
	if err != nil {
		return s, err
	}
	if s, err = measure(ctx, cmd); err != nil {
		return s, fmt.Errorf("%s at %v: %w", c.name, rtt, err)
	}
	after, err := r.lab.Traffic(c.target, rtt)
	if err != nil {
		return s, err
	}
	s.turns = after.Turns - before.Turns
	if *verbose {
		fmt.Printf("%-8s rtt %-6v %-13s  %v\n", c.name, rtt, what, s)
	}
	return s, nil
}
