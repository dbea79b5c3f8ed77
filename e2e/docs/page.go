package docs

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Languages of the blocks that are run.
const (
	Shell   = "sh"
	YAML    = "yaml"
	Console = "console"
)

// Block is one fenced block of a page.
type Block struct {
	// Line is that of its fence, counted from 1.
	Line int
	// Language is the first word of the fence, and may be empty.
	Language string
	// Skip says why the block is not run; empty: it is.
	Skip string
	// File is the name in the line before the block, if that names one.
	File string
	Text string
}

// Runs tells whether a block of this language is run at all.
func (b Block) Runs() bool {
	return b.Language == Shell || b.Language == YAML || b.Language == Console
}

var (
	fence = regexp.MustCompile("^( *)(`{3,})([^`]*)$")
	// remark marks the block after it, where the fence itself is to stay plain.
	remark = regexp.MustCompile(`^<!-- skip: (.+) -->$`)
	// named is a file in a line that leads to a block: "A job, in `job.yaml`:".
	named = regexp.MustCompile("`([\\w./-]+\\.ya?ml)`[^`]*:$")
)

// Blocks are the fenced blocks of a page, in its order.
func Blocks(page string) ([]Block, error) {
	var blocks []Block
	lines := strings.Split(page, "\n")
	prose := ""
	for i := 0; i < len(lines); i++ {
		open := fence.FindStringSubmatch(lines[i])
		if open == nil {
			if text := strings.TrimSpace(lines[i]); text != "" {
				prose = text
			}
			continue
		}
		b := Block{Line: i + 1}
		if err := b.mark(open[3]); err != nil {
			return nil, fmt.Errorf("line %d: %w", b.Line, err)
		}
		if m := remark.FindStringSubmatch(prose); m != nil {
			b.Skip = m[1]
		}
		if m := named.FindStringSubmatch(prose); m != nil {
			if b.File = path.Clean(m[1]); path.IsAbs(b.File) || b.File == ".." || strings.HasPrefix(b.File, "../") {
				return nil, fmt.Errorf("line %d: %s is outside of the page's folder", b.Line, m[1])
			}
		}
		var text []string
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != open[2]; i++ {
			text = append(text, strings.TrimPrefix(lines[i], open[1]))
		}
		if i == len(lines) {
			return nil, fmt.Errorf("line %d: the block has no end", b.Line)
		}
		b.Text = strings.Join(text, "\n")
		if err := b.lasting(); err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
		prose = ""
	}
	return blocks, nil
}

// mark reads what stands behind the fence: a language and, if it is not to be run, why.
func (b *Block) mark(info string) error {
	language, rest, _ := strings.Cut(strings.TrimSpace(info), " ")
	b.Language = language
	if rest == "" {
		return nil
	}
	reason, is := strings.CutPrefix(rest, "skip:")
	if b.Skip = strings.TrimSpace(reason); !is || b.Skip == "" {
		return fmt.Errorf("%q is not understood: a block is marked with \"skip: REASON\"", rest)
	}
	return nil
}

// Command is one command of a block, and what it is shown to print.
type Command struct {
	Line int
	Text string
	Want []string
	// Shown tells whether the page shows what it prints.
	Shown bool
}

// Commands are those of a block, as it is run: a block of sh is one script for each line
// that begins at the margin and goes on to the next, so that a failure has a line.
func (b Block) Commands() []Command {
	switch b.Language {
	case Console:
		return b.session()
	case Shell:
		return b.script()
	case YAML:
		return []Command{{Line: b.Line + 1, Text: b.Text}}
	}
	return nil
}

func (b Block) session() []Command {
	var all []Command
	open := false // the last command goes on
	for i, line := range strings.Split(b.Text, "\n") {
		text, is := strings.CutPrefix(line, "$ ")
		switch {
		case is:
			all = append(all, Command{Line: b.Line + 1 + i, Text: text, Shown: true})
		case len(all) == 0:
			continue // before the first command is nothing that could be checked
		case open:
			all[len(all)-1].Text += "\n" + strings.TrimPrefix(line, "> ")
		default:
			all[len(all)-1].Want = append(all[len(all)-1].Want, line)
			continue
		}
		open = strings.HasSuffix(line, `\`)
	}
	return all
}

func (b Block) script() []Command {
	var all []Command
	open := false
	for i, line := range strings.Split(b.Text, "\n") {
		trimmed := strings.TrimSpace(line)
		if !open && (trimmed == "" || strings.HasPrefix(trimmed, "#")) {
			continue
		}
		if open || strings.HasPrefix(line, " ") && len(all) > 0 {
			all[len(all)-1].Text += "\n" + line
		} else {
			all = append(all, Command{Line: b.Line + 1 + i, Text: line})
		}
		open = strings.HasSuffix(line, `\`)
	}
	return all
}

var (
	// parts are what one line of commands consists of.
	parts = regexp.MustCompile(`&&|\|\||;`)
	// inside is what lasts no longer than the shell it is said to, and so for one command.
	inside = regexp.MustCompile(`^(cd|pushd|popd|export|unset|declare|readonly|source|\.|alias|set|shopt|umask|trap|ulimit)( |$)|^(\w+=("[^"]*"|'[^']*'|\$\([^)]*\)|\S)* *)+$`)
	// beyond ends what began in a line before, or begins what is for lines after it.
	beyond = regexp.MustCompile(`^((do|done|then|elif|else|fi|esac|\)|\}|[A-Z]*EOF)( |;|$)|function |\w+ *\(\))`)
)

// lasting refuses a block that is to be run, and has a command which a reader's shell would
// remember and ours would not: each is run in a shell of its own, and what it sets would be
// gone without a word. So is refused what ends a loop or a text that began in another line.
func (b Block) lasting() error {
	if b.Skip != "" || b.Language != Shell && b.Language != Console {
		return nil
	}
	for _, c := range b.Commands() {
		all := parts.Split(c.Text, -1)
		if last := strings.TrimSpace(all[len(all)-1]); inside.MatchString(last) {
			return fmt.Errorf("line %d: %q has no effect on the next command, which is run by another shell: write both in one line, or skip the block", c.Line, last)
		}
		if beyond.MatchString(c.Text) {
			return fmt.Errorf("line %d: %q is a part of what other lines say, which are commands of their own: write all in one line, or skip the block", c.Line, firstLine(c.Text))
		}
	}
	return nil
}
