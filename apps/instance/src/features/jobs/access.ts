import type { NamespaceRole } from '../accounts/index.ts';

/** What a user is to a job. */
export interface JobRelation {
  siteAdmin: boolean;
  /** In the namespace of the job; undefined: nothing. */
  role: NamespaceRole | undefined;
  /** Whether the user submitted it. */
  submitted: boolean;
}

/** Whether a user sees a job: state, document, log and output. To others it does not exist. */
export function maySee({ siteAdmin, role }: JobRelation): boolean {
  return siteAdmin || role !== undefined;
}

/** Whether a user who sees a job may cancel and retry it. Members of an organization leave each other's alone. */
export function mayChange({ siteAdmin, role, submitted }: JobRelation): boolean {
  return siteAdmin || role === 'owner' || role === 'admin' || (role === 'member' && submitted);
}
