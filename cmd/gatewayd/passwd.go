package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gatewayd/auth"
)

func newPasswd() *cobra.Command {
	var batch, remove, scram bool
	var iterations int
	cmd := &cobra.Command{
		Use:   "passwd FILE USER [PASSWORD]",
		Short: "Add, change or delete a user of a password file",
		Long: `passwd adds USER to the password file FILE, or changes the password. It asks for
the password twice on a terminal and reads one line otherwise. The file is made
when it is missing. A running gateway reads it again on HUP.

With -b the password is the third argument, as mosquitto_passwd takes it.

With --scram FILE is one of credentials, auth.scram_file: clients of MQTT 5 that
use SCRAM-SHA-256 or SCRAM-SHA-512 prove with them that they know the password
and never send it.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if batch {
				return cobra.ExactArgs(3)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			file, user := args[0], args[1]
			if user == "" || strings.ContainsAny(user, ":\r\n") {
				return &exit{exitUsage, fmt.Errorf("the user name %q is empty or has a colon or a line break in it; choose another", user)}
			}
			if remove {
				forget := auth.DeleteUser
				if scram {
					forget = auth.DeleteCredentials
				}
				if err := forget(file, user); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s deleted\n", file, user)
				return nil
			}
			var secret []byte
			if batch {
				secret = []byte(args[2])
			} else {
				var err error
				if secret, err = askPassword(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			if len(secret) == 0 {
				return &exit{exitUsage, errors.New("the password is empty; choose one")}
			}
			set := auth.SetPassword
			if scram {
				set = func(file, user string, secret []byte) (bool, error) {
					return auth.SetCredentials(file, user, secret, iterations)
				}
			}
			added, err := set(file, user, secret)
			if err != nil {
				return err
			}
			what := "changed"
			if added {
				what = "added"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s\n", file, user, what)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&batch, "batch", "b", false, "take the password from the command line (it shows in the list of processes)")
	cmd.Flags().BoolVar(&scram, "scram", false, "FILE holds SCRAM credentials instead of passwords")
	cmd.Flags().IntVar(&iterations, "iterations", auth.ScramIterations, "with --scram: rounds that the client works for a login; small clients may want 4096")
	cmd.Flags().BoolVarP(&remove, "delete", "D", false, "delete the user")
	return cmd
}

// askPassword asks twice without echo on a terminal, and reads one line
// otherwise.
func askPassword(in io.Reader, prompt io.Writer) ([]byte, error) {
	lines := bufio.NewReader(in)
	f, ok := in.(*os.File)
	if !ok {
		return readLine(lines)
	}
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil { // no terminal
		return readLine(lines)
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return nil, fmt.Errorf("turn off the echo of the terminal: %w", err)
	}
	defer unix.IoctlSetTermios(fd, unix.TCSETS, before)
	ask := func(text string) ([]byte, error) {
		fmt.Fprint(prompt, text)
		defer fmt.Fprintln(prompt)
		return readLine(lines)
	}
	first, err := ask("Password: ")
	if err != nil {
		return nil, err
	}
	second, err := ask("Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil && !(errors.Is(err, io.EOF) && len(line) > 0) {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}
