package wine

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A Windows program learns the time zone from Wine, which asks the C library, which reads /etc/localtime. The variable TZ is
// seen by the program as well, and C runtimes for Windows know only the POSIX form of it: a zone's name is UTC to them. So a
// zone that has a file is mounted at /etc/localtime, and TZ is set only to what is no name.

const localtime = "/etc/localtime"

// posixZone is how TZ looks with an offset in it (POSIX, "Other Environment Variables"): `CET-1CEST,M3.5.0,M10.5.0/3`.
var posixZone = pattern(`^(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?[0-9]{1,3}(?::[0-9:]+)?(?:(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>).*)?$`)

// zoneOf is TZ of an environment.
func zoneOf(env []string) (zone string) {
	for _, setting := range env {
		if value, ok := strings.CutPrefix(setting, "TZ="); ok {
			zone = strings.TrimPrefix(value, ":")
		}
	}
	return zone
}

// zoneName tells a zone's name from an offset with rules.
func zoneName(zone string) bool { return !posixZone().MatchString(zone) }

// zoneFile finds the file of a zone.
func (r *Runtime) zoneFile(zone string) (string, error) {
	if !filepath.IsLocal(zone) {
		return "", fmt.Errorf("TZ=%s: want a zone such as Europe/Berlin, or a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3", zone)
	}
	base, err := filepath.EvalSymlinks(r.zones())
	if err != nil {
		return "", fmt.Errorf("TZ=%s: there is no %s: install tzdata", zone, zoneInfo)
	}
	file, err := filepath.EvalSymlinks(filepath.Join(base, zone))
	if err == nil && isFile(file) && within(file, base) {
		return file, nil
	}
	return "", fmt.Errorf("TZ=%s: no such time zone in %s", zone, zoneInfo)
}

// hostZone is the file with the host's time zone; empty for UTC.
func hostZone() string {
	file, err := filepath.EvalSymlinks(localtime)
	if err != nil || !isFile(file) || isUTC(file) {
		return ""
	}
	return file
}

// isUTC says whether a zone, or the file of one, is UTC by one of its names.
func isUTC(zone string) bool {
	switch path.Base(zone) {
	case "UTC", "UCT", "Universal", "Zulu":
		return true
	}
	return false
}

// zoned says whether some mounts put a container into a zone.
func zoned(mounts []specs.Mount) bool {
	return slices.ContainsFunc(mounts, func(m specs.Mount) bool { return m.Destination == localtime })
}

// zone gives the mount that puts a container into a time zone, and TZ if that is to be set. Without a zone it is the host's.
func (r *Runtime) zone(zone string) (mounts []specs.Mount, tz string, err error) {
	file := hostZone()
	switch {
	case zone == "" && file == "", isUTC(zone):
		return nil, "UTC0", nil
	case zone == "":
	case !zoneName(zone):
		return nil, zone, nil
	default:
		if file, err = r.zoneFile(zone); err != nil {
			return nil, "", err
		}
	}
	return []specs.Mount{bindFile(file, localtime)}, "", nil
}
