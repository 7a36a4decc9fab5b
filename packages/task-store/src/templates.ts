import type { StoreDeps } from './store-deps.ts'

export type Templates = ReturnType<typeof createTemplates>

/** What came of storing: not when the tenant has as many as it may. */
export type TemplateStored = 'stored' | 'too-many'

/** The tenants' own templates: texts by name. No task depends on them once it is accepted. */
export const createTemplates = ({ redis, keys, limits }: Pick<StoreDeps, 'redis' | 'keys' | 'limits'>) => ({
  /** Stores or replaces. */
  async put(tenant: string, name: string, text: string): Promise<TemplateStored> {
    const key = keys.templates(tenant)
    const [isKnown, count] = await Promise.all([redis.hexists(key, name), redis.hlen(key)])
    if (!isKnown && count >= limits.maxTemplates) return 'too-many'
    await redis.hset(key, name, text)
    return 'stored'
  },

  async find(tenant: string, name: string): Promise<string | undefined> {
    return (await redis.hget(keys.templates(tenant), name)) ?? undefined
  },

  /** The texts of those that there are. */
  async findAll(tenant: string, names: readonly string[]): Promise<string[]> {
    if (names.length === 0) return []
    const texts = await redis.hmget(keys.templates(tenant), ...names)
    return texts.filter(text => text !== null)
  },

  async names(tenant: string): Promise<string[]> {
    return redis.hkeys(keys.templates(tenant))
  },

  /** True when there was one. */
  async remove(tenant: string, name: string): Promise<boolean> {
    return (await redis.hdel(keys.templates(tenant), name)) === 1
  }
})
