package throttle

// What providers and servers are known to allow.

import (
	"net/netip"
	"slices"
	"strings"
)

// Policy says what a host may be asked for.
type Policy struct {
	// Name says where it comes from, for the snapshot.
	Name string
	// Host is what all accounts on the host may have together. Where it limits
	// the connections, the host is taken to be one that can be overwhelmed: the
	// loop that listens to latencies is one for all its accounts. Otherwise
	// each account has a loop of its own.
	Host Budget
	// Account is what each account may have.
	Account Budget
	// Start is how many connections a host, or an account with a loop of its
	// own, begins with. Default 2.
	Start int
	// Unlimited switches everything off: limits, pauses and listening.
	Unlimited bool
}

// Unlimited is the policy for hosts that one owns, and for tests.
var Unlimited = Policy{Name: "none", Unlimited: true}

// Unknown is the policy for hosts of which nothing is known: no more than four
// connections, which the most careful servers allow (Courier's default is four
// from an address), and one new one a second.
var Unknown = Policy{
	Name:    "unknown host",
	Host:    Budget{Connections: 4, LogIns: 1},
	Account: Budget{Connections: 4},
}

// start is how many connections anything begins with, by default.
const start = 2

type preset struct {
	Policy
	hosts []string // names, or ".suffix" for all below it
	ids   []string // what the name of the server's ID (RFC 2971) begins with
}

// presets are the limits that are known. Where sources disagree it is the lowest
// that counts, and of a number of connections one is left to the user.
var presets = []preset{
	{Policy{
		// 15 connections an account: support.google.com/mail/answer/97150.
		// 2,500 MB down and 500 MB up a day: support.google.com/a/answer/1071518;
		// above it the account is locked for up to 24 hours. 600 messages a
		// minute is what the API takes for import: Gmail API, usage limits.
		Name:    "gmail",
		Host:    Budget{LogIns: 1},
		Account: Budget{Connections: 14, Messages: 10, ReadDay: 2500e6, WriteDay: 500e6},
	}, []string{"imap.gmail.com", "imap.googlemail.com", ".gmail.com"}, nil},
	{Policy{
		// Reports say 20, 16 or about 10 connections (node-imap #523, j-lawyer
		// #2235); 3,600 messages and some 300 MB an hour and user (imapsync's
		// FAQ.Office365, partly at second hand).
		Name:    "office365",
		Host:    Budget{LogIns: 1},
		Account: Budget{Connections: 9, Messages: 1, Read: 300e6 / 3600., Write: 300e6 / 3600.},
	}, []string{"outlook.office365.com", "outlook.office.com", "imap-mail.outlook.com", ".outlook.com"}, nil},
	{Policy{
		// 16 connections a user, 2,000 an address: Microsoft's documentation of
		// Set-ImapSettings.
		Name:    "exchange",
		Host:    Budget{Connections: 1999, LogIns: 1},
		Account: Budget{Connections: 15},
	}, nil, []string{"Microsoft.Exchange"}},
	{Policy{
		// About 5 connections (senders.yahooinc.com, at second hand); about 3
		// sessions (Mozilla bug 1727971), and log-ins that come too fast are
		// refused (imapflow #75).
		Name:    "yahoo",
		Host:    Budget{LogIns: 0.2},
		Account: Budget{Connections: 2},
	}, []string{"imap.mail.yahoo.com", ".mail.yahoo.com", ".mail.yahoo.co.jp", "imap.aol.com", ".aol.com"}, nil},
	{Policy{
		// 48 connections were never refused (hilli's governor document), by one
		// account; nothing is published.
		Name:    "icloud",
		Host:    Budget{LogIns: 1},
		Account: Budget{Connections: 8},
	}, []string{"imap.mail.me.com", ".mail.me.com", ".mail.icloud.com"}, nil},
	{Policy{
		// mail_max_userip_connections = 10: Dovecot's default.
		Name:    "dovecot",
		Host:    Budget{Connections: 9, LogIns: 1},
		Account: Budget{Connections: 9},
	}, nil, []string{"Dovecot"}},
	{Policy{
		// MAXPERIP=4, MAXDAEMONS=40: Courier's defaults.
		Name:    "courier",
		Host:    Budget{Connections: 3, LogIns: 1},
		Account: Budget{Connections: 3},
	}, nil, []string{"Courier"}},
	{Policy{
		// 16 connections a user and 2,000 requests a minute: Stalwart's
		// documentation; others were stopped at 4 to 6.
		Name:    "stalwart",
		Host:    Budget{Connections: 16, LogIns: 1},
		Account: Budget{Connections: 3, Commands: 2000 / 60. * 0.9},
	}, nil, []string{"Stalwart"}},
	{Policy{
		// 30 connections: hilli's governor document. The next one is hung up on.
		Name:    "mox",
		Host:    Budget{Connections: 29, LogIns: 1},
		Account: Budget{Connections: 29},
	}, nil, []string{"mox"}},
	{Policy{
		// 20 connections an address: FAQ of imapsync.
		Name:    "oracle",
		Host:    Budget{Connections: 19, LogIns: 1},
		Account: Budget{Connections: 19},
	}, nil, []string{"Oracle", "Sun Java", "Messaging Server"}},
	{Policy{
		// 100 connections an address: "Connection limit is 100", as Kerio says it.
		Name:    "kerio",
		Host:    Budget{Connections: 99, LogIns: 1},
		Account: Budget{Connections: 9},
	}, nil, []string{"Kerio"}},
	{Policy{
		// 32 connections: FAQ of imapsync, of Apple's own server.
		Name:    "apple",
		Host:    Budget{Connections: 31, LogIns: 1},
		Account: Budget{Connections: 9},
	}, nil, nil},
	{Policy{
		// 16 connections: FAQ of imapsync.
		Name:    "rackspace",
		Host:    Budget{LogIns: 1},
		Account: Budget{Connections: 15},
	}, []string{"secure.emailsrvr.com", ".emailsrvr.com"}, nil},
	{Policy{
		// About 3 sessions, at second hand.
		Name:    "zoho",
		Host:    Budget{LogIns: 1},
		Account: Budget{Connections: 2},
	}, []string{"imap.zoho.com", "imappro.zoho.com", ".zoho.com", ".zoho.eu", ".zoho.in"}, nil},
	{Policy{
		// Blocks for 12 hours, at what is not said: a vendor's page.
		Name:    "mithi",
		Host:    Budget{LogIns: 0.2},
		Account: Budget{Connections: 1, Messages: 1},
	}, []string{".mithi.com"}, []string{"Mithi"}},
}

// Presets returns the names that [Preset] knows.
func Presets() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// Preset returns the policy of a provider or a server by its name.
func Preset(name string) (p Policy, ok bool) {
	for _, p := range presets {
		if strings.EqualFold(p.Name, name) {
			return p.Policy, true
		}
	}
	return Policy{}, false
}

// ForHost returns the policy for a host by its name: a preset, [Unlimited] for
// this machine, and [Unknown] for the rest.
func ForHost(host string) Policy {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if loopback(host) {
		return Unlimited
	}
	for _, p := range presets {
		for _, h := range p.hosts {
			if host == h || h[0] == '.' && strings.HasSuffix(host, h) {
				return p.Policy
			}
		}
	}
	return Unknown
}

// loopback reports whether a host is this machine by its name or address alone.
func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// forID returns the preset of the server with an ID.
func forID(name string) (p Policy, ok bool) {
	for _, p := range presets {
		for _, id := range p.ids {
			if len(name) >= len(id) && strings.EqualFold(name[:len(id)], id) {
				return p.Policy, true
			}
		}
	}
	return Policy{}, false
}
