package imapx

import (
	"context"
	"time"
)

// logoutTime is how long a server gets to answer LOGOUT. Nothing depends on
// its answer.
const logoutTime = 500 * time.Millisecond

// logout takes leave of the server.
func (c *conn) logout() {
	ctx, cancel := context.WithTimeout(context.Background(), logoutTime)
	defer cancel()
	_, _ = c.run(ctx, c.command(opLogout, "LOGOUT"))
}
