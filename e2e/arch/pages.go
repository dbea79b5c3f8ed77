package arch

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Page is a page of documentation.
type Page struct {
	// Path is relative to the root of the tree, with slashes.
	Path string
	Text string
}

// others are folders without pages of the project: what was built or fetched, what tests
// read, and templates, which are pages once they are written elsewhere.
var others = map[string]bool{"bin": true, "testdata": true, "node_modules": true, "report": true}

// Pages are all pages of the project below a folder.
func Pages(root string) ([]Page, error) {
	var pages []Page
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name != root && (strings.HasPrefix(base, ".") || others[base]) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		pages = append(pages, Page{Path: filepath.ToSlash(relative), Text: string(text)})
		return err
	})
	return pages, err
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```[ \t]*$")
	inline  = regexp.MustCompile("`[^`\n]*`")
	// unsluggable is what GitHub takes out of a heading to name it.
	unsluggable = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
)

// Broken are the links of a page that lead nowhere: to no file of the tree, or to no heading
// of a page. Links to other places are not followed.
func (p Page) Broken(root string) []string {
	var broken []string
	prose := inline.ReplaceAllString(fenced.ReplaceAllString(p.Text, ""), "")
	for _, m := range link.FindAllStringSubmatch(prose, -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		if err := p.follow(root, m[1]); err != nil {
			broken = append(broken, fmt.Sprintf("%s: %s: %v", p.Path, m[1], err))
		}
	}
	return broken
}

func (p Page) follow(root, target string) error {
	file, anchor, _ := strings.Cut(target, "#")
	text := p.Text
	if file != "" {
		file = path.Join(path.Dir(p.Path), file)
		info, err := os.Stat(filepath.Join(root, file))
		if err != nil {
			return fmt.Errorf("there is no %s", file)
		}
		if anchor == "" {
			return nil
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a folder, and has no headings", file)
		}
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return err
		}
		text = string(content)
	}
	if !headings(text)[anchor] {
		return fmt.Errorf("there is no heading #%s", anchor)
	}
	return nil
}

// headings are the names of a page's headings, as GitHub gives them.
func headings(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		title := link.ReplaceAllString(strings.ReplaceAll(m[1], "`", ""), "]")
		slug := strings.ReplaceAll(unsluggable.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
		name := slug
		for i := 1; all[name]; i++ {
			name = fmt.Sprintf("%s-%d", slug, i)
		}
		all[name] = true
	}
	return all
}

var (
	code    = regexp.MustCompile("(?m)^ *(?:\\$ )?((?:make|kubectl|ebbtide-broker) .*)$|`((?:make|kubectl|ebbtide-broker) [^`\n]*)`")
	quoting = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// Commands are the words of every command of a page that begins with these words, in blocks
// and in the text. What a shell makes of a line beyond words is cut off.
func (p Page) Commands(first ...string) [][]string {
	var all [][]string
	for _, m := range code.FindAllStringSubmatch(strings.ReplaceAll(p.Text, "\\\n", " "), -1) {
		words := quoting.FindAllString(m[1]+m[2], -1)
		for i, word := range words {
			if strings.ContainsAny(word[:1], "|>;&#") || strings.HasPrefix(word, "2>") {
				words = words[:i]
				break
			}
			words[i] = strings.Trim(word, `'"`)
			if end, is := strings.CutSuffix(words[i], ";"); is {
				words[i] = end
				words = words[:i+1]
				break
			}
		}
		if len(words) >= len(first) && strings.Join(words[:len(first)], " ") == strings.Join(first, " ") {
			all = append(all, words[len(first):])
		}
	}
	return all
}
