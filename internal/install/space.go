package install

// fileSystem is what the Install asks of one file system.
type fileSystem struct {
	dev    uint64
	sample string // a directory on it
	needed int64  // bytes for all that is staged
	files  int64  // inodes for all that is staged
	freed  int64  // bytes that the files to be replaced or removed hold
	gone   int64  // inodes of those
}

// block is the unit in which small files take up space on the usual file systems.
const block = 4096

func (s *fileSystem) add(size int64) {
	s.needed += (size + block - 1) / block * block
	s.files++
}

func (s *fileSystem) replace(size, freed int64) {
	s.add(size)
	s.freed += freed
	s.gone++
}
