export { benignCorpus } from './benign-corpus.ts';
export { typicalSecrets } from './typical-secrets.ts';
