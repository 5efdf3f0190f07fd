// The table of commands.

package imapserver

// states is a set of session states (RFC 9051 section 3).
type states uint8

const (
	notAuthenticated states = 1 << iota
	authenticated
	selected

	loggedIn = authenticated | selected
	anyState = notAuthenticated | loggedIn
)

// command says how a command is executed.
type command struct {
	run     func(*Session, *parser) reply
	state   states // in which it is allowed
	needs   string // a capability without which it is unknown
	numbers bool   // no EXPUNGE may be sent with its answer (RFC 9051 section 7.5.1)
}

// commandTable returns the commands by their upper-case names.
func commandTable() map[string]command {
	return map[string]command{
		"CAPABILITY":   {run: (*Session).capability, state: anyState},
		"NOOP":         {run: (*Session).noop, state: anyState},
		"LOGOUT":       {run: (*Session).logout, state: anyState},
		"ID":           {run: (*Session).id, state: anyState, needs: "ID"},
		"STARTTLS":     {run: (*Session).startTLS, state: notAuthenticated},
		"AUTHENTICATE": {run: (*Session).authenticate, state: notAuthenticated},
		"LOGIN":        {run: (*Session).login, state: notAuthenticated},
		"ENABLE":       {run: (*Session).enable, state: loggedIn, needs: "ENABLE"},
		"NAMESPACE":    {run: (*Session).namespace, state: loggedIn, needs: "NAMESPACE"},
		"LIST":         {run: (*Session).list, state: loggedIn},
		"LSUB":         {run: (*Session).lsub, state: loggedIn},
		"STATUS":       {run: (*Session).status, state: loggedIn},
		"SELECT":       {run: (*Session).selectBox, state: loggedIn},
		"EXAMINE":      {run: (*Session).examine, state: loggedIn},
		"CREATE":       {run: (*Session).create, state: loggedIn},
		"DELETE":       {run: (*Session).delete, state: loggedIn},
		"RENAME":       {run: (*Session).rename, state: loggedIn},
		"SUBSCRIBE":    {run: (*Session).subscribe, state: loggedIn},
		"UNSUBSCRIBE":  {run: (*Session).unsubscribe, state: loggedIn},
		"APPEND":       {run: (*Session).append, state: loggedIn},
		"GETQUOTAROOT": {run: (*Session).quotaRoot, state: loggedIn, needs: "QUOTA"},
		"GETQUOTA":     {run: (*Session).quota, state: loggedIn, needs: "QUOTA"},
		"IDLE":         {run: (*Session).idle, state: loggedIn, needs: "IDLE"},
		"NOTIFY":       {run: (*Session).notify, state: loggedIn, needs: "NOTIFY"},
		"COMPRESS":     {run: (*Session).compress, state: loggedIn, needs: "COMPRESS=DEFLATE"},
		"CHECK":        {run: (*Session).check, state: selected},
		"CLOSE":        {run: (*Session).closeBox, state: selected},
		"UNSELECT":     {run: (*Session).unselectBox, state: selected, needs: "UNSELECT"},
		"EXPUNGE":      {run: (*Session).expunge, state: selected},
		"UID EXPUNGE":  {run: (*Session).uidExpunge, state: selected, needs: "UIDPLUS"},
		"SEARCH":       {run: (*Session).search, state: selected, numbers: true},
		"UID SEARCH":   {run: (*Session).uidSearch, state: selected},
		"FETCH":        {run: (*Session).fetch, state: selected, numbers: true},
		"UID FETCH":    {run: (*Session).uidFetch, state: selected},
		"STORE":        {run: (*Session).store, state: selected, numbers: true},
		"UID STORE":    {run: (*Session).uidStore, state: selected},
		"COPY":         {run: (*Session).copy, state: selected, numbers: true},
		"UID COPY":     {run: (*Session).uidCopy, state: selected},
	}
}
