package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/e2e/lab"
	"fwprov/hcl"
)

func labCommand(w *world) *cli.Command {
	nameFlag := func() cli.Flag {
		return &cli.StringFlag{Name: "name", Usage: "the lab's `NAME`; without it the cluster's"}
	}
	return &cli.Command{
		Name:  "lab",
		Usage: "the same pair on this machine: a rehearsal network made from the inventory",
		Description: "Both nodes are machines with systemd, sshd and firewalld, and around them are the Internet gateway, a client\n" +
			"beyond it, an admin host from which fwprov is run, and a host for every server. It takes root.",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			{
				Name: "up", Usage: "build the network and boot the nodes", ArgsUsage: "FILE",
				Description: "With --machine container, the default, the nodes share this machine's kernel: up in seconds, exact to the\n" +
					"millisecond. With --machine vm they are virtual machines (qemu) with the distribution's own kernel: a real 802.1q\n" +
					"trunk, a real reboot, netem. Without KVM they are emulated, and take minutes. They run the debian image.",
				Flags: append([]cli.Flag{nameFlag(),
					&cli.StringFlag{Name: "image", Value: lab.Debian, Usage: "what the nodes run, an `IMAGE`: debian or el"},
					&cli.StringFlag{Name: "machine", Value: lab.Container, Usage: "what the nodes are, a `KIND`: container or vm"},
					boolFlag("quiet", "no progress"), jsonFlag()}, variableFlags()...),
				Action: func(c *cli.Context) error { return labUp(c, w) },
			},
			{
				Name: "down", Usage: "take it down; nothing but the cached images stays", ArgsUsage: "FILE",
				Flags:  []cli.Flag{nameFlag()},
				Action: func(c *cli.Context) error { return labDown(c, w) },
			},
			{
				Name: "status", Usage: "the hosts, their addresses, and what the lab is not", ArgsUsage: "FILE",
				Flags:  []cli.Flag{nameFlag(), jsonFlag()},
				Action: func(c *cli.Context) error { return labStatus(c, w) },
			},
			{
				Name: "exec", Usage: "run a command on a host of the lab, as root", ArgsUsage: "FILE HOST -- COMMAND...",
				Description: "On admin the home folder is the one whose .ssh reaches the nodes: this is where fwprov is run.\n" +
					"The exit code is the command's.",
				Flags:  []cli.Flag{nameFlag()},
				Action: func(c *cli.Context) error { return labExec(c, w) },
			},
		},
		Action: func(c *cli.Context) error { return cli.ShowSubcommandHelp(c) },
	}
}

func labUp(c *cli.Context, w *world) error {
	o, err := readOptions(c)
	if err != nil {
		return err
	}
	paths, err := files(c, false)
	if err != nil {
		return err
	}
	pairs, err := load(c.Context, w, o, paths)
	if err != nil {
		return err
	}
	opts := lab.Options{Name: c.String("name"), Image: c.String("image"), Machine: c.String("machine")}
	if opts.Name == "" {
		opts.Name = pairs[0].Name
	}
	if !o.quiet {
		opts.Log = func(format string, args ...any) { fmt.Fprintf(w.stderr, format+"\n", args...) }
	}
	l, err := lab.Up(c.Context, pairs[0].Pair, opts)
	if err != nil {
		return err
	}
	return showLab(w, l, o.json)
}

func labDown(c *cli.Context, w *world) error {
	l, err := openLab(c, w, 1)
	if errors.Is(err, lab.ErrDown) {
		fmt.Fprintln(w.stderr, "the lab is not up; there is nothing to take down")
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, time.Minute)
	defer cancel()
	return l.Down(ctx)
}

func labStatus(c *cli.Context, w *world) error {
	l, err := openLab(c, w, 1)
	if err != nil {
		return err
	}
	return showLab(w, l, c.Bool("json"))
}

func showLab(w *world, l *lab.Lab, asJSON bool) error {
	st, err := l.Status()
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w.stdout, st)
	}
	_, err = fmt.Fprint(w.stdout, st)
	return err
}

func labExec(c *cli.Context, w *world) error {
	if c.NArg() < 3 {
		return fmt.Errorf("what is to be run where? %s FILE HOST -- COMMAND", c.Command.HelpName)
	}
	l, err := openLab(c, w, c.NArg())
	if err != nil {
		return err
	}
	host, command := c.Args().Get(1), c.Args().Slice()[2:]
	enter := l.Command
	if w.inTerm && w.outTerm {
		enter = l.Shell
	}
	var cmd *exec.Cmd
	if host == lab.Admin {
		cmd = l.AdminCommand(c.Context, command[0], command[1:]...)
		for _, line := range w.environ { // this one is fwprov itself, most of the time
			if isSecretEnv(line) {
				cmd.Env = append(cmd.Env, line)
			}
		}
	} else if cmd, err = enter(c.Context, host, command...); err != nil {
		return err
	}
	// Unlike in a test, the command shares the terminal: no group of its own.
	cmd.SysProcAttr = nil
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = w.stdin, w.stdout, w.stderr
	err = cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Exited() {
		return exitWith(ended.ExitCode())
	}
	return err
}

// openLab finds the lab of an inventory, which is the first argument of at most
// most.
func openLab(c *cli.Context, w *world, most int) (*lab.Lab, error) {
	if c.NArg() == 0 || c.NArg() > most {
		return nil, fmt.Errorf("which inventory? %s FILE", c.Command.HelpName)
	}
	name := c.String("name")
	if name == "" {
		// The name cannot depend on variables, so that none is needed.
		p, src, diags := hcl.Load(c.Args().First(), hcl.Options{AllowUnknown: true})
		if p == nil {
			if err := showDiagnostics(w, src, diags, true); err != nil {
				return nil, err
			}
			return nil, exit(exitError)
		}
		name = p.Name
	}
	if err := lab.Check(); err != nil {
		return nil, err
	}
	return lab.Open(lab.Options{Name: name})
}
