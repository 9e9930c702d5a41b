export { createRedactor, type Redactor } from './redactor.ts';
export type { RedactionStream } from './stream.ts';
