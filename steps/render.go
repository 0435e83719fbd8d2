package steps

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/template"
	"time"

	"fwprov/provision"
)

// render fills in a template that is part of the program.
func render(text string, data any) []byte { return parsed(text).render("", data) }

// templates are those that a text defines. Parsing takes longer than filling in: once
// for all files that look alike.
type templates struct{ t *template.Template }

func parsed(text string) templates {
	return templates{template.Must(template.New("").Funcs(template.FuncMap{
		"seconds": seconds,
		"millis":  millis,
		"comment": comment,
	}).Parse(text))}
}

// render fills in one of them. A template that fails is a defect.
func (t templates) render(name string, data any) []byte {
	var b bytes.Buffer
	if err := t.t.ExecuteTemplate(&b, name, data); err != nil {
		panic("steps: " + err.Error())
	}
	return b.Bytes()
}

// seconds writes a duration as keepalived reads it: in seconds, with a fraction
// only where there is one.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// millis writes a duration as HAProxy reads it: in the largest unit that leaves
// no rest.
func millis(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

// comment makes s fit behind a comment sign: one line of printable characters.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}

// commas lists networks as iptables reads them.
func commas(nets []netip.Prefix) string {
	var words []string
	for _, n := range nets {
		if n.IsSingleIP() {
			words = append(words, n.Addr().String())
		} else {
			words = append(words, n.Masked().String())
		}
	}
	return strings.Join(words, ",")
}

// restartForever are the lines of a unit's sections [Unit] and [Service] for a
// daemon that no failure must take away for good. Left to itself systemd gives
// up after five failures in ten seconds; the setting has its present name and
// section since version 230.
func restartForever(f provision.Facts) (unit, service string) {
	service = "Restart=always\nRestartSec=100ms\n"
	if versionAtLeast(f.Get("version", "systemd"), "230") {
		return "StartLimitIntervalSec=0\n", service
	}
	return "", service + "StartLimitInterval=0\n"
}
