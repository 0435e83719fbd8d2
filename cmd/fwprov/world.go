package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/hcl"
	"fwprov/provision"
)

// world is everything that a run takes from outside.
type world struct {
	args           []string        // the first is the name of the program
	environ        hcl.Environment // as os.Environ
	stdin          io.Reader
	stdout, stderr io.Writer
	inTerm         bool // whether standard input is a terminal
	outTerm        bool
	errTerm        bool
	size           func() (columns, rows int)
	password       func(context.Context) (string, error) // a line from the terminal that is not shown
	now            func() time.Time
	id             string // random, letters and digits
	operator       string // who runs this and from where
	farewell       farewell
	machine        func() machine // what it runs on
	outlive        func()         // lets the run go on when nobody reads what it prints

	lines *bufio.Reader // of stdin, once a question has been asked
}

// env is a variable of the environment, "" if it is not set.
func (w *world) env(name string) string {
	value := ""
	for _, e := range w.environ {
		if k, v, ok := strings.Cut(e, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// dumb says that the terminal takes no escape sequences.
func (w *world) dumb() bool { return w.env("TERM") == "dumb" }

func (w *world) outStyle() style { return style{w.outTerm && !w.dumb() && w.env("NO_COLOR") == ""} }
func (w *world) errStyle() style { return style{w.errTerm && !w.dumb() && w.env("NO_COLOR") == ""} }

// ask puts a question on the terminal and reads a line.
func (w *world) ask(ctx context.Context, question string, hidden bool) (string, error) {
	to := w.stderr
	if !w.errTerm {
		to = w.stdout
	}
	fmt.Fprint(to, question)
	if hidden {
		text, err := w.password(ctx)
		fmt.Fprintln(to)
		return text, err
	}
	if w.lines == nil {
		w.lines = bufio.NewReader(w.stdin)
	}
	text, err := await(ctx, func() (string, error) { return w.lines.ReadString('\n') }, func() {})
	if err != nil {
		fmt.Fprintln(to)
	}
	if errors.Is(err, io.EOF) {
		if err = nil; text == "" {
			err = errors.New("there was no answer")
		}
	}
	return strings.TrimRight(text, "\r\n"), err
}

// canAsk says whether somebody sits there who sees a question.
func (w *world) canAsk() bool { return w.inTerm && (w.errTerm || w.outTerm) }

// run is the whole program: it returns the exit code.
func run(ctx context.Context, w *world) int {
	app := newApp(w)
	args, err := arrange(app, w.args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	var code exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil:
		fmt.Fprintln(w.stderr, "interrupted")
		return exitInterrupted
	}
	printError(w.stderr, w.errStyle(), err)
	return exitError
}

// newApp lists the commands.
func newApp(w *world) *cli.App {
	return &cli.App{
		Name:     "fwprov",
		HelpName: "fwprov",
		Usage:    "two stock Linux machines, one inventory, one redundant firewall",
		Commands: []*cli.Command{
			initCommand(w),
			validateCommand(w),
			fmtCommand(w),
			renderCommand(w),
			graphCommand(w),
			planCommand(w),
			applyCommand(w),
			verifyCommand(w),
			statusCommand(w),
			drillCommand(w),
			drainCommand(w),
			undrainCommand(w),
			historyCommand(w),
			rollbackCommand(w),
			labCommand(w),
			versionCommand(w),
		},
		Writer:                    w.stdout,
		ErrWriter:                 w.stderr,
		HideHelpCommand:           true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return err },
	}
}

// printError prints an error, one paragraph for each that is joined in it. It may
// quote what a server said before anybody knew who that was.
func printError(out io.Writer, s style, err error) {
	for _, e := range separated(err) {
		fmt.Fprintf(out, "%s %s\n", s.red("error:"), strings.ReplaceAll(provision.Printable(e.Error()), "\n", "\n  "))
	}
}

// labelled puts the name of a pair before its errors, if there are several pairs.
func labelled(label string, err error) error {
	if label == "" {
		return err
	}
	var errs []error
	for _, e := range separated(err) {
		errs = append(errs, fmt.Errorf("%s: %w", label, e))
	}
	return errors.Join(errs...)
}

// separated takes joined errors apart.
func separated(err error) []error {
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	// fmt.Errorf with several %w is of that kind too, but adds words of its own.
	var b strings.Builder
	for i, e := range j.Unwrap() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
	}
	if b.String() != err.Error() {
		return []error{err}
	}
	var out []error
	for _, e := range j.Unwrap() {
		out = append(out, separated(e)...)
	}
	return out
}
