//go:build !unix

package maildir

import "io/fs"

const openFlags = 0

func ownerOf(fs.FileInfo) (Owner, bool)     { return Owner{}, false }
func identityOf(fs.FileInfo) (fileID, bool) { return fileID{}, false }
func alive(int) bool                        { return true }
func isInvalid(error) bool                  { return false }

func isQuota(error) bool { return false }
