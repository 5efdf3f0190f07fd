package main

// What -h says, and what is said where nothing else can be.

const synopsis = `migrate moves the mail of one IMAP account to another: all folders, byte for
byte, with flags and dates. Run it again to move what has come since; whatever
stopped it, it goes on from there, and nothing arrives twice. The source is
never changed.

Usage:
  migrate -from URL -to URL [flags]
`

const usage = synopsis + `
migrate -h explains the flags.
`

const help = synopsis + `  migrate                              demonstrate itself, with no account at all

Accounts:
  imaps://user@host[:993]              implicit TLS
  imap://user@host[:143]               STARTTLS, required
  imap+plain://user@host[:143]         no TLS: this machine only, else with
                                       -allow-plaintext
  pop3s://… pop3://… pop3+plain://…    the same over POP3, for -from only: the
                                       INBOX, which is all that POP3 shows
  A URL may hold a password, as in imaps://user:password@host, where other users
  of the machine can see it. The user may be an address (ada@example.org@host);
  % / ? # : in user names and passwords are percent-encoded.
  ?authzid=USER                        log in as user, act as USER
  ?auth=plain|login|xoauth2|oauthbearer|scram|cram-md5
                                       log in this way and no other

  For each side, -from as well as -to:
  -from-password-file FILE             the password or OAuth token; read again at
                                       each log-in
  MAILHAUL_FROM_PASSWORD               the same in the environment
                                       (the file wins over the URL, and the URL
                                       over the environment)
  -from-ca FILE                        certificates of authorities to trust
                                       besides the system's, in PEM
  -from-pin HASH                       trust this public key and no other: its
                                       SHA-256 in hex or base64; repeatable
  -from-tls-min 1.0|1.1                allow a server that is too old for TLS 1.2
  -allow-plaintext                     allow imap+plain and pop3+plain to other
                                       machines
  -pop3-seen                           mark all mail from POP3 as read
  -pop3-delete                         delete on the POP3 server what was moved, at the
                                       end of the run: what the target shows, unaltered,
                                       and the checkpoint knows; the report counts it
  -pop3-allow-expire-0                 take mail from a POP3 server that deletes
                                       what was fetched

Folders ("/" stands between levels, whatever the servers use):
  -include PATTERN                     only these; repeatable
  -exclude PATTERN                     not these; repeatable, wins over -include
                                       * is anything within a level, ** anything;
                                       a folder takes along those below it; \Junk
                                       and the like name a folder by its purpose
  -rename OLD=NEW                      give a folder another name on the target,
                                       with those below it (INBOX moves alone);
                                       repeatable

What mail programs know the mail by (docs/identity.md says which server allows what):
  -identity best                       keep as much of it as the target allows, which
                                       is the default; or demand, before anything is
                                       written, one of
             exact                     UIDVALIDITY, UIDs, UIDLs: no program notices
             uid                       UIDs only
             order                     that UIDs rise in the order of the source
  -identity-admin URL                  who may give the target UIDVALIDITYs and UIDs:
    doveadms://:PASSWORD@host[:24245]  Dovecot's dsync, by its doveadm_password
    doveadm+https://:KEY@host[:8443]   Dovecot's HTTP API, by its doveadm_api_key
    doveadm://… doveadm+http://…       the same without TLS, as with imap+plain
    cyrus+imaps://admin:PASSWORD@host  an administrator of a Cyrus; also cyrus+imap
  -identity-admin-password-file FILE   the password or key; or put it into
  MAILHAUL_IDENTITY_ADMIN_PASSWORD     the environment
  -identity-admin-ca -identity-admin-pin
                                       as for an account
  -identity-exec '["ssh","mx",…]'      Dovecot's dsync through a command, which no
                                       shell reads; {user} stands for the user
  -uidl-format FORMAT                  how the target makes UIDLs, where it cannot be
                                       asked: Dovecot's pop3_uidl_format, or Cyrus's
                                       uidl_format
  -fillers N                           close gaps between UIDs with up to N messages in
                                       all that are removed again: for the HTTP API, or,
                                       with -identity uid, for any server
  -uidl-from pop3s://user@host         the account of -from over POP3, too: mail comes over
                                       IMAP, and keeps the UIDLs that POP3 programs know
                                       it by; -uidl-from-password-file,
                                       MAILHAUL_UIDL_FROM_PASSWORD, -uidl-from-ca and
                                       -uidl-from-pin are as for an account
  -xuidl                               write the UIDLs of the source into the mail, as
                                       X-UIDL, for a Dovecot with pop3_reuse_xuidl; it is
                                       not the same octets then
  -uidl-to pop3s://user@host           prove over POP3 that the target's UIDLs are those
                                       of the source; -uidl-to-password-file,
                                       MAILHAUL_UIDL_TO_PASSWORD, -uidl-to-ca and
                                       -uidl-to-pin are as for an account
  -map-export FILE                     write down which message went where, as text
  -to maildir:///path                  write into the files of a server on this machine;
                                       ?server=dovecot or courier says whose they are

Run:
  -state FILE                          remember here what was moved (default
                                       mailhaul.db); one file serves many accounts
  -connections N                       at most N to each server (default 4)
  -deletes keep|flag|remove            what becomes of a copy whose message is gone
                                       from the source: nothing (the default), the
                                       flag \Deleted, or it is removed. Copies that
                                       are in use on the target, and mail that was
                                       there before, stay in any case
  -confirm-deletes FOLDER              a folder is held, and nothing in it changed,
                                       when more than 50 messages and a fifth of it
                                       are gone at once from one side. This says that
                                       they were deleted. FOLDER is as in the report,
                                       or "*"; repeatable
  -refuse-deletes FOLDER               this says that they were not: the copies stay,
                                       or are made again
  -max-rate 2MB/s                      read from the source, and write to the
                                       target, no faster
  -max-messages 10/s                   the same, of messages; also 600/min
  -daily 2500MB                        no more than that in any 24 hours, on each
                                       side
  -off-peak "22:00-06:00 Europe/Berlin"
                                       full speed then, a trickle at other times
  -schedule FILE                       limits by day and hour; see docs/throttling.md
  -preset NAME|none                    what the servers are known to allow. Without
                                       it the hosts are looked up: a provider has its
                                       own limits, an unknown host gets 2 to 4
                                       connections, and this machine has no limits.
                                       (A POP3 source is read over one connection,
                                       as fast as the target takes the mail.)
  -follow DURATION                     go on for so long at most, such as 48h: carry
                                       over what comes to the source, and what
                                       changes there, within seconds where its server
                                       tells of it and within a minute else (over
                                       POP3: 5 minutes); then make a last pass
  -until-quiet DURATION                end -follow as soon as nothing has changed for
                                       so long
  -report FILE.html|.json|.txt         keep a report that can be sent to the user;
                                       examples/cutover makes one that is proved
  -dry-run                             print what would be done, and do nothing
  -verify                              move nothing: read all mail on both sides and
                                       say what differs, octet by octet
  -json                                print the report as one JSON object
  -v                                   log to standard error

The report goes to standard output, everything else to standard error. Interrupt
it once to finish what is under way and stop, twice to stop at once.

Exit status:
  0  all of the source is on the target
  1  some messages are not, and the report lists them (-verify: something of the
     source is missing on the target, or there twice)
  2  the command line is wrong, or demands more identity than the target can be
     given
  3  a server, the network, a full target or an unusable checkpoint stopped it;
     run it again, it resumes
  4  a user name or password is refused

Examples:
  export MAILHAUL_FROM_PASSWORD=… MAILHAUL_TO_PASSWORD=…
  migrate -from imaps://ada@old.example.org -to imaps://ada@new.example.org -dry-run
  migrate -from imaps://ada@old.example.org -to imaps://ada@new.example.org

  # a part of the account, under another name
  migrate … -include 'Work/**' -rename Work=Archive/Work

  # an administrator moves mail of ada, without ada's password
  migrate -from 'imaps://admin@old.example.org?authzid=ada' …

  # the pin of a server
  openssl s_client -connect old.example.org:993 </dev/null | openssl x509 -pubkey -noout |
    openssl pkey -pubin -outform der | openssl dgst -sha256
`
