/** What an API key may be allowed to do. `admin` includes every other scope and the administration of tenants. */
export const scopes = [
  'tasks:read',
  'tasks:write',
  'nodes:read',
  'nodes:write',
  'templates:write',
  'workflows:raw',
  'admin'
] as const

/** One permission of an API key. With `tasks:write` but without `workflows:raw` a key may only run templates. */
export type Scope = (typeof scopes)[number]
