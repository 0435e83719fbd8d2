package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fwprov/provision"
)

// The JUnit form that CI systems read: a suite a pair, a case a check.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Time     string      `xml:"timestamp,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"` // PAIR or PAIR.NODE
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"` // degraded or down
	Text    string `xml:",chardata"`
}

// junit adds what was found of a pair.
func (j *junitSuites) add(pair, when string, h provision.Health) {
	s := junitSuite{Name: pair, Time: when, Tests: len(h.Checks)}
	for _, c := range h.Checks {
		one := junitCase{Class: pair, Name: c.Name}
		if c.Node != "" {
			one.Class += "." + c.Node
		}
		if detail := provision.Printable(c.Detail); c.OK {
			one.Out = detail
		} else {
			s.Failures++
			one.Failure = &junitFailure{Message: detail, Type: string(provision.Degraded),
				Text: strings.TrimSpace(provision.Printable(c.Why) + "\n" + provision.Printable(c.Hint))}
			if c.Down {
				one.Failure.Type = string(provision.Down)
			}
		}
		s.Cases = append(s.Cases, one)
	}
	j.Tests += s.Tests
	j.Failures += s.Failures
	j.Suites = append(j.Suites, s)
}

func (j *junitSuites) text() ([]byte, error) {
	b, err := xml.MarshalIndent(j, "", "  ")
	return append([]byte(xml.Header), append(b, '\n')...), err
}

// writeWhole writes a file in one move, so that nobody reads half of it. What is
// there is replaced; its mode stays.
func writeWhole(path string, content []byte) (err error) {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return os.WriteFile(path, content, mode) // a pipe or a device
		}
		mode = info.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // it is gone once renamed
	_, err = tmp.Write(content)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(tmp.Name(), mode)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
