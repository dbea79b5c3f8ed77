package doctor

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Settings that are looked for, with the tables that they are in.
const (
	keyEnvironment  = "accept-nvidia-visible-devices-envvar-when-unprivileged"
	keyVolumeMounts = "accept-nvidia-visible-devices-as-volume-mounts"
	keyLdconfig     = "nvidia-container-cli.ldconfig"
)

// unsafe are features that take files of the container for the node's.
var unsafe = []string{
	"features.allow-ldconfig-from-container",
	"features.allow-cuda-compat-libs-from-container",
}

// ReadSettings reads the text of NVIDIA's config.toml. What is not set has its default.
func ReadSettings(file string, text []byte) (Settings, error) {
	values, err := flat(string(text))
	if err != nil {
		return Settings{}, fmt.Errorf("read %s: %w", file, err)
	}
	s := Settings{File: file}
	for key, target := range map[string]struct {
		to       *bool
		standard bool
	}{
		keyEnvironment:  {&s.EnvironmentWhenUnprivileged, true},
		keyVolumeMounts: {&s.VolumeMounts, false},
	} {
		if *target.to, err = truth(values, key, target.standard); err != nil {
			return Settings{}, fmt.Errorf("read %s: %w", file, err)
		}
	}
	for _, key := range unsafe {
		on, err := truth(values, key, false)
		if err != nil {
			return Settings{}, fmt.Errorf("read %s: %w", file, err)
		}
		if on {
			s.Unsafe = append(s.Unsafe, key)
		}
	}
	// The @ says that the program is the node's.
	if ldconfig, ok := values[keyLdconfig]; ok && !strings.HasPrefix(strings.Trim(ldconfig, `"'`), "@") {
		s.Unsafe = append(s.Unsafe, keyLdconfig+" = "+ldconfig)
	}
	return s, nil
}

func truth(values map[string]string, key string, standard bool) (bool, error) {
	text, ok := values[key]
	if !ok {
		return standard, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil || text != "true" && text != "false" {
		return false, fmt.Errorf("%s: %q is neither true nor false", key, text)
	}
	return on, nil
}

// bare is a name as it is written without quotes, with the tables that it is in.
var bare = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// flat reads the part of TOML that the file is written in: tables, and keys with values
// on one line. Arrays may go over several; their content is of no interest here. What
// else TOML has could hide a setting, and is an error.
func flat(text string) (map[string]string, error) {
	values := map[string]string{}
	table, open := "", ""
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(withoutComment(line))
		switch {
		case line == "":
		case open != "":
			if strings.HasSuffix(line, "]") {
				open = ""
			}
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			name := strings.TrimSpace(strings.Trim(line, "[]"))
			if !bare.MatchString(name) {
				return nil, fmt.Errorf("line %d names a table in a way that is not read here: %q", n+1, line)
			}
			table = name + "."
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				return nil, fmt.Errorf("line %d is neither a table nor a setting: %q", n+1, line)
			}
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if !bare.MatchString(key) {
				return nil, fmt.Errorf("line %d names a setting in a way that is not read here: %q", n+1, line)
			}
			for _, opening := range []string{"{", `"""`, "'''"} {
				if strings.HasPrefix(value, opening) {
					return nil, fmt.Errorf("line %d has a value that is not read here: %q", n+1, line)
				}
			}
			key = table + key
			if _, twice := values[key]; twice {
				return nil, fmt.Errorf("line %d sets %s a second time", n+1, key)
			}
			values[key] = value
			if strings.HasPrefix(value, "[") && !strings.HasSuffix(value, "]") {
				open = key
			}
		}
	}
	return values, nil
}

// withoutComment cuts what is behind a # that is not in quotes.
func withoutComment(line string) string {
	var quote rune
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == '#':
			return line[:i]
		}
	}
	return line
}
