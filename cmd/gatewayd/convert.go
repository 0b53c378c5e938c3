package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatewayd/config"
)

func newConvert() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "convert FILE",
		Short: "Turn a mosquitto.conf into a gatewayd.yaml",
		Long: `convert reads a mosquitto.conf with everything it includes and prints the same as
a gatewayd.yaml. What cannot be carried over, or needs a word, is named on
standard error with file, line and reason. Password and ACL files are used as
they are. --from says which Mosquitto the file was written for, because an
absent option means what that version meant.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, notes, err := config.LoadMosquitto(args[0], from, config.Options{})
			for _, n := range notes {
				fmt.Fprintf(cmd.ErrOrStderr(), "gatewayd: %s\n", n)
			}
			if err != nil {
				return err
			}
			if faults := checkMeaning(c); len(faults) > 0 {
				return faults
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "# Made by \"gatewayd convert\" from %s.\n%s", strings.ReplaceAll(args[0], "\n", " "), c.Write())
			return err
		},
	}
	addFrom(cmd, &from)
	return cmd
}

func addFrom(cmd *cobra.Command, from *string) {
	cmd.Flags().StringVar(from, "from", "2.1", "version of Mosquitto the mosquitto.conf was written for: 1.4, 1.5, 1.6, 2.0 or 2.1")
}

// addMosquitto lets a command take a mosquitto.conf instead of a
// configuration.
func (f *configFlags) addMosquitto(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mosquitto, "mosquitto-conf", "", "run straight from this mosquitto.conf")
	addFrom(cmd, &f.from)
}
