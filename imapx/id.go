package imapx

// identification is what a server says that it is (RFC 2971), with names in
// lower case.
type identification map[string]string

// idCommand returns a command that exchanges identification. Some servers
// serve only clients that say who they are.
func (c *conn) idCommand() *command {
	cmd := c.command(opID, `ID ("name" "mailhaul")`)
	cmd.wants = func(event any) bool {
		id, ok := event.(idEvent)
		if ok {
			c.id = identification(id)
		}
		return ok
	}
	return cmd
}
