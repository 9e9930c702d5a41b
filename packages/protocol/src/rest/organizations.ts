import { z } from 'zod';
import { accountNameSchema } from './accounts.ts';

/** Members submit and see jobs of the organization; admins also cancel everybody's, and say who is in it. */
export const organizationRoleSchema = z.enum(['member', 'admin']);
export type OrganizationRole = z.infer<typeof organizationRoleSchema>;

const time = z.string().meta({ format: 'date-time' });

export const organizationSummarySchema = z.object({
  name: z.string(),
  role: organizationRoleSchema
    .nullable()
    .meta({ description: 'Of the user who asks; null: none, a site admin sees it anyway' }),
  members: z.int().meta({ description: 'How many' }),
  createdAt: time,
});
export type OrganizationSummary = z.infer<typeof organizationSummarySchema>;

export const organizationListSchema = z.object({ organizations: z.array(organizationSummarySchema) });

export const organizationViewSchema = organizationSummarySchema
  .extend({ members: z.array(z.object({ name: z.string(), role: organizationRoleSchema })) })
  .meta({ id: 'Organization' });
export type OrganizationView = z.infer<typeof organizationViewSchema>;

/** Body of `POST /.api/organizations`. */
export const createOrganizationSchema = z
  .strictObject({
    name: accountNameSchema,
    admin: z
      .string()
      .max(255)
      .optional()
      .meta({ description: 'Its first admin; the own user when left out' }),
  })
  .meta({ id: 'CreateOrganization' });
export type CreateOrganization = z.infer<typeof createOrganizationSchema>;

/** Body of `PUT /.api/organizations/:name/members/:user`. */
export const setMemberSchema = z.strictObject({ role: organizationRoleSchema }).meta({ id: 'SetMember' });
