package drill

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fwprov/steps"
)

// Probes from another host are that host's own ping and, where it has bash, its
// connections: a script that prints
//
//	every SECONDS          between two pings, as the host lets this user have it
//	no ping|bash           it has none
//	ping ADDRESS [SECONDS] ... icmp_seq=N ... time=MS ms
//	connect ADDRESS:PORT BEGIN END ok|failed         nanoseconds
//	clock NANOSECONDS      for every line it gets
//
// all by its own clock, as long as its standard input goes on.

// farConnect is the pause between two connections there, each of which is a
// process.
const farConnect = 200 * time.Millisecond

// FarScript pings and connects for the time within at most.
func FarScript(vips []netip.Addr, services []steps.Target, every, within time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `LC_ALL=C
export LC_ALL
end=$(($(date +%%s) + %[1]d))
jobs=
if ! command -v ping >/dev/null; then
	echo 'no ping'
else
	every=0.2
	! ping -n -q -c 2 -i %[2]s -W 1 127.0.0.1 >/dev/null 2>&1 || every=%[2]s
	echo "every $every"
	for a in %[3]s; do
		ping -n -D -W 1 -i $every -w %[1]d $a 2>/dev/null | sed -u "s/^/ping $a /" &
		jobs="$jobs $!" # the end of sed is the end of ping
	done
fi
`, int(within/time.Second), seconds(every), words(vips))
	if len(services) > 0 {
		var to []string
		for _, s := range services {
			to = append(to, s.Addr.String())
		}
		fmt.Fprintf(&b, `if command -v bash >/dev/null; then
	for a in %s; do
		(
			while [ $(date +%%s) -lt $end ]; do
				(
					from=$(date +%%s%%N)
					said=failed
					! timeout 3 bash -c "exec 3<>/dev/tcp/${a%%:*}/${a##*:}" 2>/dev/null || said=ok
					echo "connect $a $from $(date +%%s%%N) $said"
				) &
				sleep %s
			done
		) &
		jobs="$jobs $!"
	done
else
	echo 'no bash'
fi
`, strings.Join(to, " "), seconds(farConnect))
	}
	b.WriteString("while read -r line; do\n\techo \"clock $(date +%s%N)\"\ndone\n[ -z \"$jobs\" ] || kill $jobs 2>/dev/null\nexit 0\n")
	return b.String()
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

func words(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

var (
	farPing      = regexp.MustCompile(`^ping ([0-9.]+) \[([0-9]+\.[0-9]+)\] [0-9]+ bytes from .*icmp_seq=([0-9]+) .*time=([0-9.]+) ms`)
	farConnected = regexp.MustCompile(`^connect ([0-9.]+:[0-9]+) ([0-9]+) ([0-9]+) (ok|failed)$`)
)

// FarSeries reads what FarScript printed. Of a ping that had no answer it is known
// from its neighbours when it was sent, and of those after the last answer that they
// went on until end.
func FarSeries(lines []string, host string, services []steps.Target, clock Clock, end time.Time) []Series {
	every := 200 * time.Millisecond
	pings := map[string]map[int]Sample{}
	connects := map[string][]Sample{}
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "every "); ok {
			if f, err := strconv.ParseFloat(text, 64); err == nil && f >= 0.001 && f <= 10 {
				every = time.Duration(f * float64(time.Second))
			}
		}
		if addr, seq, s, ok := farAnswer(line, clock); ok {
			if pings[addr] == nil {
				pings[addr] = map[int]Sample{}
			}
			pings[addr][seq] = s
		}
		if addr, s, ok := farConnection(line, clock); ok {
			connects[addr] = append(connects[addr], s)
		}
	}
	var out []Series
	for addr, answered := range pings {
		out = append(out, Series{Vantage: host, Kind: Ping, Target: addr, Every: every, Samples: filled(answered, every, end)})
	}
	for addr, samples := range connects {
		slices.SortFunc(samples, func(a, b Sample) int { return a.Sent.Compare(b.Sent) })
		s := Series{Vantage: host, Kind: Connect, Target: addr, Every: farConnect, Samples: samples}
		for _, t := range services {
			if t.Addr.String() == addr {
				s.Name = t.Name
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Series) int {
		if a.Kind != b.Kind {
			return -strings.Compare(string(a.Kind), string(b.Kind))
		}
		return strings.Compare(a.Target, b.Target)
	})
	return out
}

// farAnswer reads a ping that was answered.
func farAnswer(line string, clock Clock) (addr string, seq int, s Sample, ok bool) {
	m := farPing.FindStringSubmatch(line)
	if m == nil {
		return "", 0, Sample{}, false
	}
	back, err1 := strconv.ParseFloat(m[2], 64)
	seq, err2 := strconv.Atoi(m[3])
	ms, err3 := strconv.ParseFloat(m[4], 64)
	if err1 != nil || err2 != nil || err3 != nil || seq > maxSeq {
		return "", 0, Sample{}, false
	}
	at := clock.Ours(time.UnixMicro(int64(back * 1e6)))
	return m[1], seq, Sample{Sent: at.Add(-time.Duration(ms * float64(time.Millisecond))), Back: at}, true
}

// farConnection reads a connection that came about, or did not.
func farConnection(line string, clock Clock) (addr string, s Sample, ok bool) {
	m := farConnected.FindStringSubmatch(line)
	if m == nil {
		return "", Sample{}, false
	}
	from, err1 := strconv.ParseInt(m[2], 10, 64)
	to, err2 := strconv.ParseInt(m[3], 10, 64)
	if err1 != nil || err2 != nil {
		return "", Sample{}, false
	}
	s = Sample{Sent: clock.Ours(time.Unix(0, from))}
	if m[4] == "ok" {
		s.Back = clock.Ours(time.Unix(0, to))
	}
	return m[1], s, true
}

// maxSeq bounds what a host can make us remember.
const maxSeq = 1 << 16

// filled makes a series of the pings that were answered, by number: those between
// were sent and had no answer.
func filled(answered map[int]Sample, every time.Duration, end time.Time) []Sample {
	var numbers []int
	for n := range answered {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var out []Sample
	for i, n := range numbers {
		if i > 0 {
			before := numbers[i-1]
			step := every
			if n > before {
				step = answered[n].Sent.Sub(answered[numbers[i-1]].Sent) / time.Duration(n-before)
			}
			for k := before + 1; k < n; k++ {
				out = append(out, Sample{Sent: answered[before].Sent.Add(step * time.Duration(k-before))})
			}
		}
		out = append(out, answered[n])
	}
	if last := out[len(out)-1].Sent; end.Sub(last) > lastAnswers+2*every {
		for at := last.Add(every); at.Before(end) && len(out) < 2*maxSeq; at = at.Add(every) {
			out = append(out, Sample{Sent: at})
		}
	}
	return out
}
