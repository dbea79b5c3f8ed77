package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every architecture that Go
// runs Linux on.
const tick = 10 * time.Millisecond

// cpuTime returns the processor time that a process has used, in user and in
// kernel mode, to a hundredth of a second.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	used, err := parseStat(string(text))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	return used, nil
}

// parseStat reads utime and stime, the 14th and 15th field. The second is the
// program's name in parentheses, which may hold anything.
func parseStat(text string) (time.Duration, error) {
	const first, utime, stime = 3, 14, 15
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) <= stime-first {
		return 0, fmt.Errorf("want at least %d fields, got %q", stime, text)
	}
	var ticks int64
	for _, at := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[at-first], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read field %d: %w", at, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// profileLength is how long a profile is taken; shorter where the round is.
const profileLength = 10 * time.Second

// profile begins to record what the scheduler spends its time on, if the bench is
// to. What it returns waits for the end of the recording.
func (b *bench) profile(ctx context.Context, s scheduler, number int) func() error {
	if b.config.Profiles == "" || number == 0 {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() { done <- b.fetchProfile(ctx, s, number) }()
	return func() error { return <-done }
}

func (b *bench) fetchProfile(ctx context.Context, s scheduler, number int) error {
	env, err := b.lab.Env(string(s))
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(b.lab.Config())
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	url := fmt.Sprintf("https://%s/debug/pprof/profile?seconds=%d", env.Addr, int(profileLength.Seconds()))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s for a profile: %w", s, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s for a profile: %w", s, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s for a profile: %s", s, response.Status)
	}
	file, err := os.Create(filepath.Join(b.config.Profiles, fmt.Sprintf("round-%d-%s.pprof", number, s)))
	if err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	if _, err := io.Copy(file, response.Body); err != nil {
		file.Close()
		return fmt.Errorf("write a profile: %w", err)
	}
	return file.Close()
}
