package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/state"

	"go.uber.org/zap"
)

// Recover ends what a crash interrupted, for every deployment group of the root: a commit that had begun is completed,
// whatever its age, and staged files of an Install that had not come so far are removed. It is called before the agent
// takes commands; afterwards Done answers for every Install.
func Recover(r state.Root, log *zap.Logger) error {
	files, err := filepath.Glob(globEscape(r.Instructions()) + "/*" + transactionSuffix)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		g := r.Group(strings.TrimSuffix(filepath.Base(f), transactionSuffix))
		if err := recoverGroup(g, log.With(zap.String("deployment-group", g.ID()))); err != nil {
			errs = append(errs, fmt.Errorf("cannot finish the interrupted Install of deployment group %q: %w", g.ID(), err))
		}
	}
	return errors.Join(errs...)
}

func recoverGroup(g state.Group, log *zap.Logger) error {
	s, err := openScript(g)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	if s.ID == "" { // it was interrupted before anything was staged
		return removeTransaction(g)
	}
	r := s.replay(log, true)
	defer r.cache.close()
	switch {
	case !s.committed:
		log.Info("removing what an interrupted Install had staged", zap.String("deployment", s.Deployment))
		return r.drop()
	case s.undone:
		log.Info("restoring the files that a failed Install had replaced", zap.String("deployment", s.Deployment))
		return r.undo(new(doneSet))
	}
	log.Info("completing an interrupted Install", zap.String("deployment", s.Deployment))
	if _, err := r.forward(); err != nil {
		log.Error("an interrupted Install cannot be completed, the old files are restored", zap.String("deployment", s.Deployment), zap.Error(err))
		return r.undo(new(doneSet))
	}
	return r.finish()
}
