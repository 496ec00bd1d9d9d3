package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/program"
)

// Hooks of the runtime spec (config.md, "POSIX-platform Hooks"): createRuntime
// and its predecessor prestart, poststart and poststop run in the namespaces
// of the runtime, createContainer and startContainer in those of the
// container. Each gets the container's state on standard input. To the hooks
// the container is created when its environment is there, which `create` has
// not reported yet (runtime.md, "State" and "Lifecycle").

// hookStderr bounds how much of a failing hook's output becomes part of the error.
const hookStderr = 4096

// hookOutputDelay is how long the output of a hook that has ended is read on: a
// process that it leaves behind may keep it open.
const hookOutputDelay = time.Second

// runHooks runs hooks in the runtime's namespaces, one after the other, until
// one fails. With a log, failures are warnings there and all hooks run.
func (c *Container) runHooks(kind string, status oci.Status, hooks []specs.Hook, log *slog.Logger) error {
	return c.eachHook(kind, status, hooks, log, func(ctx context.Context, h *specs.Hook, state []byte, stderr io.Writer) error {
		cmd := exec.CommandContext(ctx, h.Path)
		if len(h.Args) > 0 {
			cmd.Args = h.Args
		}
		cmd.Env = append([]string{}, h.Env...) // not nil, which would mean the runtime's own
		cmd.Dir = c.rec.Bundle
		cmd.Stdin, cmd.Stderr = bytes.NewReader(state), stderr
		cmd.WaitDelay = hookOutputDelay
		// A group of its own, so that what it has started ends with it when it takes too long.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
		if err := cmd.Run(); !errors.Is(err, exec.ErrWaitDelay) {
			return err
		}
		return nil
	})
}

// runHooksInside runs hooks in the container's namespaces.
func (c *Container) runHooksInside(kind string, status oci.Status, hooks []specs.Hook) error {
	return c.eachHook(kind, status, hooks, nil, c.runHookInside)
}

// eachHook runs hooks with run; log is as in [Container.runHooks].
func (c *Container) eachHook(kind string, status oci.Status, hooks []specs.Hook, log *slog.Logger, run func(context.Context, *specs.Hook, []byte, io.Writer) error) error {
	if len(hooks) == 0 {
		return nil
	}
	s := c.State()
	s.Status = status
	if status != oci.Stopped {
		s.PID = c.rec.PID
	}
	state, err := json.Marshal(&s)
	if err != nil {
		return err
	}
	for i := range hooks {
		h := &hooks[i]
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if h.Timeout != nil {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		}
		var stderr bytes.Buffer
		err := run(ctx, h, state, &stderr)
		timedOut := ctx.Err() != nil
		cancel()
		switch {
		case timedOut:
			err = fmt.Errorf("%s hook #%d %s: timed out after %d s", kind, i, h.Path, *h.Timeout)
		case err != nil:
			err = fmt.Errorf("%s hook #%d %s: %w: %s", kind, i, h.Path, err, strings.TrimSpace(string(stderr.Next(hookStderr))))
		default:
			continue
		}
		if log == nil {
			return err
		}
		log.Warn(err.Error())
	}
	return nil
}

// runHookInside runs one hook through the init ELF.
func (c *Container) runHookInside(ctx context.Context, h *specs.Hook, state []byte, stderr io.Writer) error {
	p, err := program.CompileHook(h, c.target(3), program.Options{ID: c.rec.ID, Control: 3 + fdControl, NoNewKeyring: c.rec.NoNewKeyring})
	if err != nil {
		return err
	}
	stdin, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer feed.Close()
	defer stdin.Close()
	output, said, err := os.Pipe()
	if err != nil {
		return err
	}
	defer output.Close()
	init, err := c.join(p, initOptions{stdio: [3]*os.File{stdin, said, said}, group: c.Group()})
	said.Close()
	stdin.Close()
	if err != nil {
		return err
	}
	defer init.close()
	stop := context.AfterFunc(ctx, func() {
		init.killOnly()
		unix.Kill(-init.pid, unix.SIGKILL) // the session that it leads, by now
	})
	defer stop()
	go func() {
		feed.Write(state)
		feed.Close()
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(stderr, io.LimitReader(output, hookStderr))
		io.Copy(io.Discard, output) // else the hook could wait for ever to write the rest
	}()
	execErr := init.awaitExec(p)
	status, err := wait(init.pid)
	output.SetReadDeadline(time.Now().Add(hookOutputDelay))
	<-read
	switch {
	case execErr != nil:
		return execErr
	case err != nil:
		return err
	case exitCode(status) != 0:
		return fmt.Errorf("exit status %d", exitCode(status))
	}
	return nil
}

// checkHooks refuses hooks that cannot be run, before anything is made.
func checkHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	for _, kind := range []struct {
		name  string
		hooks []specs.Hook
	}{
		//lint:ignore SA1019 engines still send it
		{"prestart", h.Prestart},
		{"createRuntime", h.CreateRuntime},
		{"createContainer", h.CreateContainer},
		{"startContainer", h.StartContainer},
		{"poststart", h.Poststart},
		{"poststop", h.Poststop},
	} {
		for i, hook := range kind.hooks {
			if !filepath.IsAbs(hook.Path) {
				return fmt.Errorf("hooks.%s[%d].path: %q is not absolute", kind.name, i, hook.Path)
			}
			if hook.Timeout != nil && *hook.Timeout <= 0 {
				return fmt.Errorf("hooks.%s[%d].timeout: %d is not greater than 0", kind.name, i, *hook.Timeout)
			}
		}
	}
	return nil
}

// createHooks runs the hooks that belong before the container enters its root.
func (c *Container) createHooks(h *specs.Hooks) error {
	//lint:ignore SA1019 engines still send it
	if err := c.runHooks("prestart", oci.Created, h.Prestart, nil); err != nil {
		return err
	}
	if err := c.runHooks("createRuntime", oci.Created, h.CreateRuntime, nil); err != nil {
		return err
	}
	return c.runHooksInside("createContainer", oci.Created, h.CreateContainer)
}

// poststart runs the hooks of a container whose program runs. A failing one is an
// error, for which the caller has to stop the container, since version 1.3 of the
// specification; to a bundle of an older version it is a warning (runtime.md, "Lifecycle").
func (c *Container) poststart(spec *specs.Spec, log *slog.Logger) error {
	if spec.Hooks == nil {
		return nil
	}
	if oci.VersionAtLeast(spec.Version, 1, 3) {
		log = nil
	}
	return c.runHooks("poststart", oci.Running, spec.Hooks.Poststart, log)
}

// poststop runs the hooks of a container that is gone: their failures are
// warnings (runtime.md, "Lifecycle").
func (c *Container) poststop(spec *specs.Spec, log *slog.Logger) {
	if spec.Hooks == nil {
		return
	}
	if err := c.runHooks("poststop", oci.Stopped, spec.Hooks.Poststop, log); err != nil {
		log.Warn(err.Error())
	}
}

// specWithHooks is the container's configuration if that has hooks; an empty one when
// it has none, or cannot be read.
func (c *Container) specWithHooks() *specs.Spec {
	if c.rec.Hooks { // else the configuration need not be read
		if spec, err := c.Spec(); err == nil && spec.Hooks != nil {
			return spec
		}
	}
	return &specs.Spec{Hooks: &specs.Hooks{}}
}
