package install

import "strings"

// inside makes a path of the AppSpec relative to the archive. A leading slash means the archive itself; ok is false
// when the path climbs out of it. The archive itself is "".
func inside(path string) (rel string, ok bool) {
	return climb(path)
}

// absolute makes a destination absolute. As in the 1.x agents, which the service manager starts in "/", a relative one
// counts from the root. ok is false when it climbs above the root.
func absolute(path string) (abs string, ok bool) {
	if strings.HasPrefix(path, "/") && isClean(path[1:]) { // without making another string
		return path, true
	}
	rel, ok := climb(path)
	return "/" + rel, ok
}

// climb cleans a path lexically and tells whether it stays at or below where it starts all the way.
func climb(path string) (string, bool) {
	if rel := strings.TrimPrefix(path, "/"); isClean(rel) {
		return rel, true
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return "", false
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/"), true
}

// parentOf splits a clean absolute path; the root is its own parent.
func parentOf(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

// below tells whether a clean absolute path lies strictly below a directory.
func below(dir, path string) bool {
	if dir == "/" {
		return path != "/"
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// isClean tells whether a relative path has no empty, "." or ".." components; most have none.
func isClean(rel string) bool {
	for part := range strings.SplitSeq(rel, "/") {
		if part == "" || part == "." || part == ".." {
			return rel == ""
		}
	}
	return true
}
