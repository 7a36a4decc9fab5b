import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { readTemplate, type StoredTemplate, type TemplateReading } from './stored-template.ts'

/** Compiled templates that are kept at hand. */
const maxCompiled = 64

export type TemplateShelf = ReturnType<typeof createTemplateShelf>

type ShelfDeps = TemplateReading & {
  readonly ledger: Pick<Ledger, 'templates'>
  /** Templates that every tenant sees, unless it has one of the same name. */
  readonly shared: ReadonlyMap<string, StoredTemplate>
}

/** Finds templates: a tenant's own first, then the shared ones. */
export const createTemplateShelf = ({ ledger, shared, ...reading }: ShelfDeps) => {
  const compiled = new Map<string, StoredTemplate>()

  const read = (name: string, document: string): StoredTemplate => {
    const key = `${name} ${document}`
    const known = compiled.get(key)
    if (known) return known
    const template = readTemplate({ name, shared: false, document }, reading)
    if ('flaws' in template) throw new Error(`the stored template ${name} cannot be read: ${template.flaws[0]?.detail}`)
    if (compiled.size >= maxCompiled) compiled.delete(compiled.keys().next().value!)
    compiled.set(key, template)
    return template
  }

  return {
    reading,

    async find(tenant: string, name: string): Promise<StoredTemplate | undefined> {
      const document = await ledger.templates.find(tenant, name)
      return document === undefined ? shared.get(name) : read(name, document)
    },

    /** So many in the order of their names, from the one after the given name on. */
    async page(tenant: string, after: string, limit: number): Promise<{ page: StoredTemplate[]; isLast: boolean }> {
      const own = new Set(await ledger.templates.names(tenant))
      const names = [...new Set([...own, ...shared.keys()])].filter(name => name > after).sort()
      const page: StoredTemplate[] = []
      for (const name of names.slice(0, limit)) {
        const template = own.has(name) ? await this.find(tenant, name) : shared.get(name)
        if (template) page.push(template)
      }
      return { page, isLast: names.length <= limit }
    },

    isShared: (name: string): boolean => shared.has(name)
  }
}
