package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Run starts argv with the environment and records what it does to the file, which must
// exist, until it ends. The file is told by its inode, whatever name it is opened by.
// Cancelling ctx kills the program.
func Run(ctx context.Context, argv, env []string, file string, fault *Fault) (*Record, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	type result struct {
		record *Record
		err    error
	}
	done := make(chan result)
	go func() {
		// A tracee answers only to the thread that started it. The thread is not given
		// back: it ends with this goroutine, and with it whatever is still traced.
		runtime.LockOSThread()
		t := &tracer{file: info, fault: fault, record: &Record{}, threads: map[int]*thread{}}
		err := t.run(ctx, argv, env)
		done <- result{t.record, err}
	}()
	r := <-done
	return r.record, r.err
}

// thread is one of the program's, and the call that it is in.
type thread struct {
	began  bool // its first stop was seen
	op     *Op  // recorded when it began, or to be when it ends
	inject syscall.Errno
}

type tracer struct {
	file    os.FileInfo
	fault   *Fault
	record  *Record
	leader  int
	threads map[int]*thread
	counts  [Said + 1]int
	ops     []*Op
}

const ptraceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_EXITKILL

func (t *tracer) run(ctx context.Context, argv, env []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Env: env, Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return unavailable("start "+argv[0], err)
	}
	t.leader = p.Pid
	stop := context.AfterFunc(ctx, func() { _ = p.Kill() })
	defer stop()
	defer func() { _ = p.Release() }()

	var status unix.WaitStatus
	if _, err := unix.Wait4(t.leader, &status, unix.WALL, nil); err != nil {
		return fmt.Errorf("wait for %s: %w", argv[0], err)
	}
	if !status.Stopped() {
		return fmt.Errorf("%s ended before it began: %v", argv[0], status)
	}
	if err := unix.PtraceSetOptions(t.leader, ptraceOptions); err != nil {
		return t.abort(unavailable("trace", err))
	}
	t.threads[t.leader] = &thread{began: true}
	if err := unix.PtraceSyscall(t.leader, 0); err != nil {
		return t.abort(unavailable("trace", err))
	}
	if err := t.loop(); err != nil {
		return t.abort(err)
	}
	for _, op := range t.ops {
		t.record.Ops = append(t.record.Ops, *op)
	}
	return ctx.Err()
}

func unavailable(what string, err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// abort ends the program and waits until it is gone.
func (t *tracer) abort(err error) error {
	_ = unix.Kill(t.leader, unix.SIGKILL)
	for {
		var status unix.WaitStatus
		pid, wait := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if wait == unix.EINTR {
			continue
		}
		if wait != nil || pid == t.leader && !status.Stopped() {
			return err
		}
	}
}

// loop follows all threads until the program ends.
func (t *tracer) loop() error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the traced program: %w", err)
		}
		if !status.Stopped() {
			delete(t.threads, pid)
			if pid == t.leader {
				t.record.Exit = status.ExitStatus()
				return nil
			}
			continue
		}
		signal, err := t.stopped(pid, status)
		if err != nil {
			return err
		}
		if err := unix.PtraceSyscall(pid, signal); err != nil && err != unix.ESRCH {
			return fmt.Errorf("continue the traced program: %w", err)
		}
	}
}

// stopped handles one stop and tells which signal to deliver.
func (t *tracer) stopped(pid int, status unix.WaitStatus) (int, error) {
	th := t.threads[pid]
	if th == nil {
		th = &thread{}
		t.threads[pid] = th
	}
	signal := status.StopSignal()
	switch {
	case signal == unix.SIGTRAP|0x80:
		return 0, t.syscall(pid, th)
	case signal == unix.SIGTRAP && status.TrapCause() > 0:
		return 0, nil
	case signal == unix.SIGSTOP && !th.began:
		th.began = true // every new thread begins with one
		return 0, nil
	}
	return int(signal), nil
}

// callInfo is struct ptrace_syscall_info of the kernel, with the part for an entry; an
// exit has its result where an entry has its number.
type callInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32
	_, _   uint64
	number uint64
	args   [6]uint64
}

const (
	callEntry = 1
	callExit  = 2
)

func (t *tracer) syscall(pid int, th *thread) error {
	var info callInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(pid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	switch {
	case errno == unix.ESRCH:
		return nil
	case errno != 0:
		return unavailable("ask for a system call", errno)
	case info.op == callEntry:
		return t.entered(pid, th, &info)
	case info.op == callExit:
		return t.left(pid, th, int64(info.number))
	}
	return nil
}

// entered looks at a call that begins.
func (t *tracer) entered(pid int, th *thread, info *callInfo) error {
	th.op, th.inject = nil, 0
	fd := info.args[0]
	switch info.number {
	case unix.SYS_WRITE:
		return t.written(pid, th, info)
	case unix.SYS_PWRITE64:
		if !t.ours(pid, fd) {
			return nil
		}
		data, err := peek(pid, info.args[1], info.args[2])
		if err != nil {
			return err
		}
		th.op = &Op{Call: Write, Off: int64(info.args[3]), Data: data}
	case unix.SYS_FTRUNCATE:
		if !t.ours(pid, fd) {
			return nil
		}
		th.op = &Op{Call: Truncate, Off: int64(info.args[1])}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		if !t.ours(pid, fd) {
			return nil
		}
		th.op = &Op{Call: Sync}
	default:
		return t.unknown(pid, info)
	}
	if th.op.Call != Sync {
		t.ops = append(t.ops, th.op)
	}
	return t.count(pid, th)
}

// count makes the fault come about when its time is there.
func (t *tracer) count(pid int, th *thread) error {
	call := th.op.Call
	t.counts[call]++
	if t.fault == nil || t.fault.On != call || t.fault.Nth != t.counts[call] {
		return nil
	}
	t.record.Faulted, th.inject = true, t.fault.Errno
	return setRegisters(pid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// written looks at a write without an offset: what is said is recorded.
func (t *tracer) written(pid int, th *thread, info *callInfo) error {
	fd := info.args[0]
	if fd != 1 && fd != 2 {
		if t.ours(pid, fd) {
			return errors.New("the program writes to the file without an offset, which is not recorded")
		}
		return nil
	}
	data, err := peek(pid, info.args[1], info.args[2])
	if err != nil {
		return err
	}
	if fd == 2 {
		t.record.Stderr += string(data)
		return nil
	}
	th.op = &Op{Call: Said, Data: data}
	t.ops = append(t.ops, th.op)
	return nil
}

// unknown refuses what could change the file unseen.
func (t *tracer) unknown(pid int, info *callInfo) error {
	fd := info.args[0]
	switch info.number {
	case unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_PWRITEV2, unix.SYS_FALLOCATE, unix.SYS_SENDFILE, unix.SYS_SYNC_FILE_RANGE:
	case unix.SYS_COPY_FILE_RANGE, unix.SYS_SPLICE:
		fd = info.args[2]
	case unix.SYS_MMAP:
		if info.args[2]&unix.PROT_WRITE == 0 || info.args[3]&unix.MAP_SHARED == 0 || info.args[3]&unix.MAP_ANONYMOUS != 0 {
			return nil
		}
		fd = info.args[4]
	case unix.SYS_IO_URING_SETUP, unix.SYS_IO_SUBMIT:
		return fmt.Errorf("the program uses system call %d, which hides its writes", info.number)
	default:
		return nil
	}
	if t.ours(pid, fd) {
		return fmt.Errorf("the program uses system call %d on the file, which is not recorded", info.number)
	}
	return nil
}

// left looks at a call that ends.
func (t *tracer) left(pid int, th *thread, result int64) error {
	op := th.op
	if op == nil {
		return nil
	}
	th.op = nil
	if th.inject != 0 {
		result = -int64(th.inject)
		if err := setRegisters(pid, func(r *unix.PtraceRegs) { r.Rax = uint64(result) }); err != nil {
			return err
		}
	}
	switch {
	case result < 0:
		op.Err = syscall.Errno(-result)
	case op.Call == Write && result < int64(len(op.Data)):
		op.Data = op.Data[:result]
	}
	if op.Call == Sync {
		t.ops = append(t.ops, op)
	}
	return nil
}

// ours tells whether a descriptor of the program is the file.
func (t *tracer) ours(pid int, fd uint64) bool {
	info, err := os.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(fd)))
	return err == nil && os.SameFile(info, t.file)
}

func setRegisters(pid int, change func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		return fmt.Errorf("read registers: %w", err)
	}
	change(&r)
	if err := unix.PtraceSetRegs(pid, &r); err != nil {
		return fmt.Errorf("write registers: %w", err)
	}
	return nil
}

// peek reads the program's memory.
func peek(pid int, at, size uint64) ([]byte, error) {
	data := make([]byte, size)
	if size == 0 {
		return data, nil
	}
	local := []unix.Iovec{{Base: &data[0], Len: size}}
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: int(size)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err != nil || uint64(n) != size {
		return nil, unavailable("read the program's memory", errors.Join(err, fmt.Errorf("%d of %d bytes", n, size)))
	}
	return data, nil
}
