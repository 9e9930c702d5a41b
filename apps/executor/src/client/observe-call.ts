/**
 * Told of every call to the instance, to count and time it.
 * @param kind `queue`: about jobs; `files`: for a job's files
 * @param op the reference's name of the operation, such as `Dequeue`
 */
export type ObserveCall = <Result>(
  kind: 'queue' | 'files',
  op: string,
  call: () => Promise<Result>,
) => Promise<Result>;
