import { z } from 'zod';

/** How much of a list one request gets at most. */
export const maxPageSize = 200;

/** `first` in the query of a list. */
export const pageSizeSchema = z.coerce.number().int().min(1).max(maxPageSize).default(50);
