package wine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"winbox/images/layer"
)

// BuildOptions say what runtime to build.
type BuildOptions struct {
	// Name is what it will be called; empty makes one of the version and WoW64.
	Name string
	// WoW64 is how it is to run 32-bit programs.
	WoW64 WoW64
	// From is a root file system with Wine, as a folder or a tar file. When it is empty, one is made of Debian's packages.
	From string
	// Image is an image to take it from: see images.Unpack. One of a runtime of winbox's making is taken as it is, one of
	// a root file system with Wine is trimmed, with the 32-bit part that it has when WoW64 is empty.
	Image string
	// Mirror is where the packages come from, their security updates from the same with "-security" behind its name; empty
	// takes the host's.
	Mirror string
	// All keeps the modules of Wine's that no container has a use for.
	All bool
	// Wayland keeps Wine's driver for Wayland's displays.
	Wayland bool
	// Replace lets it take the name of another.
	Replace bool
}

// Debian 13 has Wine 10, which runs 32-bit programs both ways.
const (
	suite          = "trixie"
	mirror         = "http://deb.debian.org/debian"
	securitySuite  = suite + "-security"
	securityMirror = "http://deb.debian.org/debian-security"
	// keyring is that of the host's package debian-archive-keyring.
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// packages are what a runtime is made of; the rest are dependencies. libc-bin has the locale C.UTF-8.
func packages(how WoW64) (architectures, include []string) {
	architectures = []string{"amd64"}
	include = []string{"wine64", "libc-bin", "fonts-wine", "fonts-liberation", "tzdata", "ca-certificates"}
	both := []string{"libwine", "libgnutls30t64", "libxcomposite1", "libxcursor1", "libxfixes3", "libxi6", "libxinerama1", "libxrandr2",
		"libxrender1", "libxxf86vm1"}
	include = append(include, both...)
	if how == WoW64None {
		return architectures, include
	}
	// In Debian, the 32-bit DLLs of the new WoW64 come with the i386 Wine as well.
	architectures = append(architectures, "i386")
	for _, name := range append([]string{"wine32"}, both...) {
		include = append(include, name+":i386")
	}
	return architectures, include
}

// The steps of Build.
const (
	stepLists = iota
	stepDownload
	stepExtract
	stepTrim
	stepFinish
	buildSteps
)

// Build builds a runtime and puts it into the store. It takes a minute or two, 2 GiB of disk for that long, and, for
// Debian's packages, mmdebstrap, root and a network. The host's own packages and dpkg's data base are left alone: no
// package is installed and none of their scripts runs; files are taken out of packages whose signatures apt has checked.
//
// Builds come one after the other. One that is killed leaves nothing that counts, and what it leaves on disk the next
// removes. What it mounts and starts ends with it.
func (s *Store) Build(ctx context.Context, opt BuildOptions, progress Progress) (*Record, error) {
	say := func(step int, text string) {
		if progress != nil {
			progress(text, step, buildSteps)
		}
	}
	if err := opt.WoW64.check(); err != nil && (opt.Image == "" || opt.WoW64 != "") {
		return nil, err
	}
	if opt.Name != "" {
		if err := CheckName(opt.Name); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.dir(), 0o755); err != nil {
		return nil, fmt.Errorf("build runtime: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(s.dir(), ".lock"))
	if err != nil {
		return nil, fmt.Errorf("build runtime: %w", err)
	}
	defer unlock()
	if err := s.free(opt.Name, opt.Replace); err != nil {
		return nil, err
	}
	if err := s.clean(); err != nil {
		return nil, fmt.Errorf("build runtime: %w", err)
	}
	draft, err := os.MkdirTemp(s.dir(), ".new-")
	if err != nil {
		return nil, fmt.Errorf("build runtime: %w", err)
	}
	record, err := s.build(ctx, opt, draft, say)
	if err := errors.Join(err, removeTree(draft)); err != nil {
		return nil, fmt.Errorf("build runtime: %w", err)
	}
	say(buildSteps, "ready")
	return record, nil
}

// free refuses a name that is taken.
func (s *Store) free(name string, replace bool) error {
	if name == "" || replace {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(s.dir(), name)); err == nil {
		return fmt.Errorf("runtime %s exists: choose another name, or replace it with --replace", name)
	}
	return nil
}

// clean removes the drafts of builds that were killed.
func (s *Store) clean() error {
	old, err := filepath.Glob(filepath.Join(s.dir(), ".new-*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	return nil
}

// build makes the runtime in the draft folder and renames it.
func (s *Store) build(ctx context.Context, opt BuildOptions, draft string, say func(int, string)) (*Record, error) {
	source, from, missing := opt.From, opt.From, ""
	var err error
	whole := false // nothing is to be left out
	if opt.Image != "" {
		source, from = opt.Image, filepath.Join(draft, "packages")
		labels, err := unpackImage(ctx, opt.Image, from, say)
		if err != nil {
			return nil, err
		}
		whole = labels[ImageLabel] != ""
	} else if opt.From == "" {
		from = filepath.Join(draft, "packages")
		if source, missing, err = fetch(ctx, opt, draft, from, say); err != nil {
			return nil, err
		}
	} else if info, err := os.Stat(opt.From); err != nil {
		return nil, err
	} else if !info.IsDir() {
		say(stepExtract, "extracting")
		from = filepath.Join(draft, "packages")
		if err := untar(opt.From, from); err != nil {
			return nil, fmt.Errorf("extract %s: %w", opt.From, err)
		}
	}

	say(stepTrim, "taking what Wine needs")
	root, err := os.OpenRoot(from)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	made := filepath.Join(draft, "made")
	tree := filepath.Join(made, "root")
	untrimmed, err := treeSize(from)
	if err != nil {
		return nil, err
	}
	if whole {
		err = errors.Join(os.Mkdir(made, 0o755), os.Rename(from, tree))
	} else {
		err = takeKept(ctx, root, opt, tree)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}

	say(stepFinish, "finishing")
	if err := makeReadable(made); err != nil {
		return nil, err
	}
	wine := inFiles(hostFiles(tree))
	if wine == nil {
		return nil, fmt.Errorf("there is no Wine in what was taken of %s", from)
	}
	about := wine.Record()
	record := &about
	if record.Unplaced, err = placeLibraries(tree, wine); err != nil {
		return nil, err
	}
	if record.KeepsReserved, err = keepReserved(tree, wine); err != nil {
		return nil, err
	}
	if record.SmallestStack, err = allowSmallStacks(tree, wine); err != nil {
		return nil, err
	}
	record.Untrimmed = untrimmed
	record.Name, record.Source, record.NoUpdates, record.Created = "", source, missing, time.Now().UTC().Truncate(time.Second)
	if record.Digest, record.Size, err = treeDigest(tree); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(made, "runtime.json"), append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	if err := syncTree(made); err != nil {
		return nil, err
	}
	if record.Name = opt.Name; record.Name == "" {
		record.Name = "wine-" + record.Wine
		if record.WoW64 != WoW64None {
			record.Name += "-" + string(record.WoW64)
		}
		if err := errors.Join(CheckName(record.Name), s.free(record.Name, opt.Replace)); err != nil {
			return nil, err
		}
	}
	return record, s.put(record, made)
}

// takeKept copies what a runtime needs of a root file system into a new tree.
func takeKept(ctx context.Context, root *os.Root, opt BuildOptions, tree string) error {
	how := opt.WoW64
	if wine := inFiles(rootFiles{root}); how == "" && wine != nil {
		how = wine.WoW64()
	}
	list, err := trim(root, how, keeping{opt.All, opt.Wayland})
	if err != nil {
		return err
	}
	if err := copyKept(ctx, root, list, tree, opt.All); err != nil {
		return err
	}
	if err := copyCertificates(root, tree); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return nil
}

// put gives a tree its names.
func (s *Store) put(record *Record, made string) error {
	to := s.tree(record)
	if !isFolder(to) { // the same tree is there already: it never changes
		if err := os.Rename(made, to); err != nil {
			return err
		}
	}
	before, err := s.find(record.Name)
	if err != nil && !errors.Is(err, ErrNoRuntime) {
		return err
	}
	link := filepath.Join(s.dir(), ".new-link")
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.Symlink(filepath.Base(to), link), os.Rename(link, filepath.Join(s.dir(), record.Name))); err != nil {
		return err
	}
	if before != nil && before.Digest != record.Digest {
		return s.collect(before)
	}
	return nil
}

// collect removes a tree that has lost a name, unless it has another or a container uses it.
func (s *Store) collect(old *Record) error {
	named, err := s.List()
	if err != nil {
		return err
	}
	for _, other := range named {
		if other.Digest == old.Digest {
			return nil
		}
	}
	users, err := s.users(old)
	if err != nil || len(users) > 0 {
		return err
	}
	return s.removeTree(old)
}

// fetch makes a root file system of Debian's packages, and says where it came from. missing says why it is without the
// security updates: their archive changes often, and a mirror of it that is out of step must not stop every build.
func fetch(ctx context.Context, opt BuildOptions, draft, to string, say func(int, string)) (source, missing string, err error) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return "", "", errors.New("needs mmdebstrap, to take Wine out of Debian's packages: apt-get install mmdebstrap debian-archive-keyring (or give a root file system with --from)")
	}
	if !isFile(keyring) {
		return "", "", fmt.Errorf("needs %s, to check the packages' signatures: apt-get install debian-archive-keyring", keyring)
	}
	if os.Geteuid() != 0 {
		return "", "", errors.New("needs root, to unpack Debian's packages (or give a root file system with --from)")
	}
	from, security := opt.Mirror, strings.TrimRight(opt.Mirror, "/")+"-security"
	if from == "" {
		from, security = hostMirror(ctx, "Debian", mirror), hostMirror(ctx, "Debian-Security", securityMirror)
	}
	settings := filepath.Join(draft, "apt.conf")
	if err := os.WriteFile(settings, aptSettings(ctx), 0o600); err != nil {
		return "", "", err
	}
	temporary := filepath.Join(draft, "tmp")
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return "", "", err
	}
	if err := os.Chmod(draft, 0o755); err != nil { // apt fetches as another user
		return "", "", err
	}
	whole, updates := "deb "+from+" "+suite+" main", "deb "+security+" "+securitySuite+" main"
	say(stepLists, "fetching the lists of packages")
	last, err := bootstrap(ctx, opt.WoW64, draft, to, []string{whole, updates}, say)
	if why := fault(last, "-security"); err != nil && why != "" && ctx.Err() == nil {
		missing = why
		if err := removeTree(to); err != nil {
			return "", "", err
		}
		say(stepLists, "fetching the lists of packages, without security updates")
		_, err = bootstrap(ctx, opt.WoW64, draft, to, []string{whole}, say)
	}
	if err != nil {
		return "", "", err
	}
	return from + " " + suite, missing, nil
}

// fault is the last error of apt's that names a part of an archive; empty when there is none.
func fault(lines []string, part string) string {
	for _, line := range slices.Backward(lines) {
		if text, ok := strings.CutPrefix(line, "E: "); ok && strings.Contains(text, part) {
			return text
		}
	}
	return ""
}

// bootstrap unpacks the packages out of some sources, by mmdebstrap; last is what that said at the end.
func bootstrap(ctx context.Context, how WoW64, draft, to string, sources []string, say func(int, string)) (last []string, err error) {
	settings, temporary := filepath.Join(draft, "apt.conf"), filepath.Join(draft, "tmp")
	architectures, include := packages(how)
	// Packages are unpacked (extract) but not installed: none of their scripts runs.
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=extract", "--format=directory", "--verbose", "--keyring="+keyring, "--aptopt="+settings,
		"--architectures="+strings.Join(architectures, ","), "--include="+strings.Join(include, ","), suite, to)
	cmd.Args = append(cmd.Args, sources...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary, "LC_ALL=C.UTF-8")
	// In namespaces of its own: whatever it mounts is seen by nobody else, and all that it starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setsid: true,
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	// The death signal is sent when the thread ends that started the process (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	write.Close()
	if err != nil {
		return nil, fmt.Errorf("start mmdebstrap: %w", err)
	}
	last = follow(read, say)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return last, fmt.Errorf("mmdebstrap: %w; it said last:\n%s", err, strings.Join(last, "\n"))
	}
	return last, nil
}

// follow reads what mmdebstrap says, tells how far it is, and gives the last lines.
func follow(out io.Reader, say func(int, string)) (last []string) {
	count := 0
	downloading := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		if last = append(last, line); len(last) > 20 {
			last = last[1:]
		}
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "I: downloading"):
			say(stepDownload, "downloading packages")
			downloading = true
		case downloading && len(words) > 4 && words[3] == "newly" && words[4] == "installed,": // "0 upgraded, 371 newly installed, ..."
			count, _ = strconv.Atoi(words[2])
		case downloading && count > 0 && strings.HasPrefix(line, "Get:"):
			number, _, _ := strings.Cut(strings.TrimPrefix(line, "Get:"), " ")
			say(stepDownload, fmt.Sprintf("downloading package %s of %d", number, count))
		case strings.HasPrefix(line, "I: extracting"):
			say(stepExtract, "extracting packages")
			downloading = false
		}
	}
	io.Copy(io.Discard, out) // a line that is too long must not stop the writer
	return last
}

// hostMirror is the mirror that the host's apt uses of what Debian labels so, or else the one that Debian recommends.
func hostMirror(ctx context.Context, label, recommended string) string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return recommended
	}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) == 4 && words[1] == "Debian" && words[2] == label && words[3] == "main" {
			return words[0]
		}
	}
	return recommended
}

// aptSettings are those of the host's settings for apt that say how to reach a mirror: proxies, times, and the files
// with passwords.
func aptSettings(ctx context.Context) []byte {
	var b bytes.Buffer
	b.WriteString("Dir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n")
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty", "Acquire").Output()
	if err != nil {
		return b.Bytes()
	}
	for line := range strings.Lines(string(out)) {
		for _, prefix := range []string{"Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Proxy"} {
			if strings.HasPrefix(line, prefix+" ") || strings.HasPrefix(line, prefix+"::") {
				b.WriteString(line)
				break
			}
		}
	}
	return b.Bytes()
}

// untar unpacks the folders, files and links of a tar file.
func untar(file, to string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	limits := layer.DefaultLimits
	_, err = layer.Extract(to, bufio.NewReaderSize(f, 1<<20), layer.Options{Limits: &limits})
	return err
}

// treeSize adds up the sizes of the files of a tree, each once.
func treeSize(dir string) (size int64, err error) {
	var top syscall.Stat_t
	if err := syscall.Stat(dir, &top); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	seen := make(map[uint64]bool)
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() && !entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case entry.IsDir() && st.Dev != top.Dev: // a mount, as /proc is
			return fs.SkipDir
		case !entry.IsDir() && !seen[st.Ino]:
			size += info.Size()
			seen[st.Ino] = true
		}
		return nil
	})
	return size, err
}

// makeReadable gives the folders of a tree the mode that they have for all users, whatever the umask.
func makeReadable(dir string) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return os.Chmod(name, 0o755)
	})
}
