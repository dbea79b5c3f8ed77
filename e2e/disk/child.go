package disk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

// patience is how long a process may take to open a file; one that takes longer is dead.
const patience = time.Minute

// program starts the writer.
type program struct {
	argv, env []string
}

func (p program) command(args ...string) *exec.Cmd {
	argv := append(append([]string{}, p.argv...), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	return cmd
}

// opener is a process that opens files, and is started again when it died of one.
type opener struct {
	program program
	args    []string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	stderr  *bytes.Buffer
}

// errDied: the process ended instead of answering.
var errDied = errors.New("the process that opened the file died")

// ask has a file opened. The error is errDied if that killed the process.
func (o *opener) ask(r writer.Request) (writer.Answer, error) {
	if o.cmd == nil {
		if err := o.start(); err != nil {
			return writer.Answer{}, fmt.Errorf("start a process that opens files: %w", err)
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		return writer.Answer{}, err
	}
	process := o.cmd.Process
	late := time.AfterFunc(patience, func() { _ = process.Kill() })
	defer late.Stop()
	_, sent := o.in.Write(append(line, '\n'))
	reply, err := o.out.ReadBytes('\n')
	if err = errors.Join(sent, err); err != nil {
		ended := o.stop()
		return writer.Answer{}, fmt.Errorf("%w: %w: %s", errDied, ended, firstLine(o.stderr.String()))
	}
	var a writer.Answer
	if err := json.Unmarshal(reply, &a); err != nil {
		return a, fmt.Errorf("read the answer %q: %w", reply, err)
	}
	return a, nil
}

func (o *opener) start() error {
	cmd := o.program.command(append([]string{"open"}, o.args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	o.stderr = &bytes.Buffer{}
	cmd.Stderr = o.stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	o.cmd, o.in, o.out = cmd, in, bufio.NewReader(out)
	return nil
}

// stop ends the process, which has nothing to lose, and tells how it ended.
func (o *opener) stop() error {
	if o.cmd == nil {
		return nil
	}
	_ = o.in.Close()
	err := o.cmd.Wait()
	o.cmd = nil
	return err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
