package main

// Where each message went, for other tools.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mailhaul/mailhaul/checkpoint"
)

// exportMap writes the map into a file, in the place of one that is there, or
// nothing where no file is named.
func exportMap(ctx context.Context, name string, store checkpoint.Store, pair checkpoint.Pair) error {
	if name == "" {
		return nil
	}
	ledger, err := checkpoint.OpenLedger(ctx, store, pair)
	if err != nil {
		return fmt.Errorf("-map-export: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*")
	if err != nil {
		return fmt.Errorf("-map-export: %w", err)
	}
	err = ledger.ExportMap(ctx, part, nil)
	err = errors.Join(err, part.Close())
	if err == nil {
		err = os.Rename(part.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("-map-export: %w", err), os.Remove(part.Name()))
	}
	return nil
}
