import type { JobDocument } from '../wire/job-document.ts';

/** A job document in which nothing is set. */
export const emptyDocument: Omit<JobDocument, 'id' | 'token'> = {
  repositoryName: '',
  repositoryDirectory: '',
  commit: '',
  fetchTags: false,
  shallowClone: false,
  sparseCheckout: [],
  files: {},
  dockerSteps: [],
  cliSteps: [],
  redactedValues: {},
  dockerAuthConfig: {},
};
