package sandbox

import (
	"encoding/json"
	"fmt"
	"net"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// sendListener hands the listener of a seccomp filter to the agent that
// listens at linux.seccomp.listenerPath, with the container process state
// (runtime-spec, config-linux.md, "The Container Process State").
func (c *Container) sendListener(listener *os.File, pid int) error {
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	profile, err := profileOf(spec, c.seccomp)
	if err != nil {
		return err
	}
	state := c.State()
	state.PID = c.rec.PID
	if pid == c.rec.PID { // and not one that is executed in a container that runs
		state.Status = oci.Creating
	}
	message, err := json.Marshal(&specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: profile.ListenerMetadata,
		State: specs.State{
			Version: state.Version, ID: state.ID, Status: specs.ContainerState(state.Status), Pid: state.PID, Bundle: state.Bundle, Annotations: state.Annotations,
		},
	})
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: profile.ListenerPath, Net: "unix"})
	if err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath: %w", err)
	}
	defer conn.Close()
	if _, _, err := conn.WriteMsgUnix(message, unix.UnixRights(int(listener.Fd())), nil); err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath: %w", err)
	}
	return nil
}
