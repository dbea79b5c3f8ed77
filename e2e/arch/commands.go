package arch

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// standIn is what is said of a flag whose value is missing, or is a word in capitals that
// stands for one.
var standIn = regexp.MustCompile(`^flag needs an argument: |^invalid argument "[A-Z]+" `)

// Parse finds the command of a program that a page's words are for, and has it read its
// flags and arguments; the program is not run. It returns the command's name.
//
// A text names commands, too: by a word in capitals in the place of any, by nothing but
// their names, or with a flag that has no value or a word in capitals for one. A synopsis, and what has … in it, is not
// read beyond its command.
func Parse(program *cobra.Command, words []string) (name string, err error) {
	if len(words) == 0 || words[0] == strings.ToUpper(words[0]) || strings.HasPrefix(words[0], "__") {
		return "", nil
	}
	program.InitDefaultCompletionCmd()
	program.InitDefaultHelpCmd()
	cmd, rest, err := program.Find(words)
	if err != nil {
		return "", err
	}
	name = cmd.CommandPath()
	if slices.ContainsFunc(words, func(word string) bool { return strings.ContainsAny(word, "…[(|<") }) {
		return name, nil
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil && !standIn.MatchString(err.Error()) {
		return name, err
	}
	args := cmd.Flags().Args()
	if len(args) == 0 {
		return name, nil
	}
	if cmd.HasSubCommands() {
		return name, cobra.NoArgs(cmd, args)
	}
	return name, cmd.ValidateArgs(args)
}
