import {
  deleteTemplate,
  getTemplate,
  listTemplates,
  previewTemplate,
  putTemplate
} from '@comfy-balancer/contract/endpoints/templates'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { FastifyReply } from 'fastify'
import type { TaskApiDeps } from '../deps.ts'
import { fromLedger } from '../ledger-errors.ts'
import { objectText } from '../object-text.ts'
import { invalidWorkflow, runnableOf } from '../runnable.ts'
import { variantsOf } from '../variants.ts'
import { documentOf, readTemplate, type StoredTemplate } from './stored-template.ts'

const maxTemplateBytes = 1_048_576

/** Adds what is asked about templates. Their texts are answered as they were stored, to the last digit. */
export const templateRoutes = (app: App, deps: TaskApiDeps): void => {
  const { ledger, templates } = deps

  const find = async ({ tenant }: Caller, name: string): Promise<StoredTemplate> => {
    const found = await fromLedger(templates.find(tenant, name))
    if (found) return found
    throw new Refusal('not-found', `There is no template ${name}`)
  }

  route(app, listTemplates, async (request, reply) => {
    const { limit = 50, cursor } = request.query
    const after = cursor === undefined ? '' : readCursor(cursor)
    const { page, isLast } = await fromLedger(templates.page(request.caller.tenant, after, limit))
    const nextCursor = isLast ? 'null' : JSON.stringify(writeCursor(page.at(-1)?.name ?? ''))
    return sendText(reply, objectText({ data: `[${page.map(one => one.summaryText).join(',')}]`, nextCursor }))
  })

  route(app, getTemplate, async (request, reply) =>
    sendText(reply, (await find(request.caller, request.params.name)).text)
  )

  const put = async ({ tenant }: Caller, name: string, text: string): Promise<StoredTemplate> => {
    const document = documentOf(text, new Date().toISOString(), deps)
    const read = readTemplate({ name, shared: false, document }, deps)
    if ('flaws' in read) throw read.ofGraph ? invalidWorkflow(read.flaws) : invalid(read.flaws)
    if ((await fromLedger(ledger.templates.put(tenant, name, document))) === 'stored') return read
    throw new Refusal('quota-exceeded', `You have ${ledger.limits.maxTemplates} templates; delete one first`)
  }

  route(
    app,
    putTemplate,
    async (request, reply) => {
      const template = await put(request.caller, request.params.name, request.bodyText ?? '')
      request.log.info({ template: template.name }, 'template stored')
      return sendText(reply, template.text)
    },
    { bodyLimit: maxTemplateBytes }
  )

  route(app, deleteTemplate, async (request, reply) => {
    const { name } = request.params
    if (!(await fromLedger(ledger.templates.remove(request.caller.tenant, name)))) {
      const why = templates.isShared(name)
        ? 'is shared and comes from a folder: it cannot be deleted here'
        : 'is not there'
      throw new Refusal('not-found', `The template ${name} ${why}`)
    }
    request.log.info({ template: name }, 'template deleted')
    return reply.send()
  })

  route(app, previewTemplate, async (request, reply) => {
    const { name } = request.params
    await find(request.caller, name)
    const body = { ...request.body, template: name }
    const runnable = await runnableOf(deps, request.caller, { body, text: request.bodyText ?? '{}' })
    const [first] = variantsOf(deps.exactText, { ...runnable, count: 1 })
    const prompt = deps.exactText.membersOf(first?.text ?? '{}').get('prompt') ?? '{}'
    const { seed = null } = first ?? {}
    const head = { template: JSON.stringify(name), seed: JSON.stringify(seed), count: String(runnable.count ?? 1) }
    return sendText(reply, objectText({ ...head, prompt }))
  })
}

const invalid = (flaws: readonly { pointer: string; code: string; detail: string }[]): Refusal =>
  new Refusal('validation-failed', flaws.map(({ detail }) => detail).join('; '), { errors: flaws })

const sendText = (reply: FastifyReply, text: string): FastifyReply =>
  reply.type('application/json; charset=utf-8').header('cache-control', 'no-store').send(text)

const writeCursor = (name: string): string => Buffer.from(`v1 ${name}`).toString('base64url')

const readCursor = (cursor: string): string => {
  const match = /^v1 ([A-Za-z0-9_.-]{1,64})$/.exec(Buffer.from(cursor, 'base64url').toString('utf8'))
  if (match?.[1]) return match[1]
  const detail = 'cursor must be the nextCursor of the page before'
  throw new Refusal('validation-failed', detail, {
    errors: [{ pointer: '/querystring/cursor', code: 'cursor', detail }]
  })
}
