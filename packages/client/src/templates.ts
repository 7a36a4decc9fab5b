import {
  deleteTemplate,
  getTemplate,
  listTemplates,
  previewTemplate,
  putTemplate
} from '@comfy-balancer/contract/endpoints/templates'
import type {
  Preview,
  PreviewRequest,
  Template,
  TemplateContent,
  TemplateList
} from '@comfy-balancer/contract/template'
import type { Client } from './client.ts'
import type { Wire } from './wire.ts'

/** What a client can do with templates. */
export type TemplateCalls = {
  /** A page of them, by name; `cursor` is the `nextCursor` of the page before. */
  readonly list: (query?: { readonly limit?: number; readonly cursor?: string }) => Promise<TemplateList>
  readonly get: (name: string) => Promise<Template>
  /** Stores one of your own, or replaces it. */
  readonly put: (name: string, content: TemplateContent) => Promise<Template>
  readonly delete: (name: string) => Promise<void>
  /** The workflow that these params would run. */
  readonly preview: (name: string, request?: PreviewRequest) => Promise<Preview>
}

/** The calls about templates. */
export const templateCalls = (wire: Wire, call: Client['call']): TemplateCalls => ({
  list: (query = {}) => call(listTemplates, { query }),
  get: name => call(getTemplate, { params: { name } }),
  put: (name, content) => call(putTemplate, { params: { name }, body: content }),
  delete: async name => {
    await wire(deleteTemplate, { params: { name } })
  },
  preview: (name, request = {}) => call(previewTemplate, { params: { name }, body: request })
})
