import { demoImages } from '../docker/index.ts';

/** Three steps in two images that share a workspace, as `kiln job submit --file` takes it. */
export function demoJob(repository: string): object {
  return {
    repository,
    revision: 'HEAD',
    clone: { depth: 0 },
    timeout: '5m',
    steps: [
      {
        key: 'greet',
        image: demoImages.busybox,
        run: `echo "Hello from a sandbox on $(uname -sr) with $(nproc) CPUs"
echo "the workspace holds $(find . -type f -not -path './.git/*' | wc -l) files of the repository"`,
      },
      {
        key: 'history',
        image: demoImages.git,
        run: `git log --max-count=5 --format='%h %s'
git rev-list --count HEAD >commits.txt`,
      },
      {
        key: 'report',
        image: demoImages.busybox,
        run: `for part in one two three; do echo "live line $part"; sleep 0.2; done
echo "the step before this one counted $(cat commits.txt) commits"`,
      },
    ],
  };
}
