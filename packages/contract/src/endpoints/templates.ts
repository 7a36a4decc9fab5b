import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Problem } from '../problem.ts'
import { Preview, PreviewRequest, Template, TemplateContent, TemplateList, TemplateName } from '../template.ts'
import { problems } from './problems.ts'

const TemplateParams = Type.Object({ name: TemplateName })

export const listTemplates = {
  scope: 'tasks:read',
  method: 'GET',
  url: '/api/v1/templates',
  schema: {
    operationId: 'listTemplates',
    summary: 'Your templates and the shared ones, by name',
    tags: ['templates'],
    querystring: Type.Object(
      {
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
        cursor: Type.Optional(Type.String({ maxLength: 256, description: 'nextCursor of the page before' }))
      },
      { additionalProperties: false }
    ),
    response: { 200: ref(TemplateList), ...problems }
  }
} as const satisfies Endpoint

export const getTemplate = {
  scope: 'tasks:read',
  method: 'GET',
  url: '/api/v1/templates/:name',
  schema: {
    operationId: 'getTemplate',
    summary: 'One template, workflow included',
    tags: ['templates'],
    params: TemplateParams,
    response: { 200: ref(Template), ...problems }
  }
} as const satisfies Endpoint

export const putTemplate = {
  scope: 'templates:write',
  method: 'PUT',
  url: '/api/v1/templates/:name',
  schema: {
    operationId: 'putTemplate',
    summary: 'Store a template of your own; tasks already accepted keep what they had',
    tags: ['templates'],
    params: TemplateParams,
    body: ref(TemplateContent),
    response: {
      200: ref(Template),
      413: ref(Problem),
      415: ref(Problem),
      422: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const deleteTemplate = {
  scope: 'templates:write',
  method: 'DELETE',
  url: '/api/v1/templates/:name',
  schema: {
    operationId: 'deleteTemplate',
    summary: 'Delete a template of your own; a shared one of the same name shows again',
    tags: ['templates'],
    params: TemplateParams,
    response: { 204: Type.Unsafe<undefined>(Type.Null()), ...problems }
  }
} as const satisfies Endpoint

export const previewTemplate = {
  scope: 'tasks:read',
  method: 'POST',
  url: '/api/v1/templates/:name/preview',
  schema: {
    operationId: 'previewTemplate',
    summary: 'The workflow that a request with these params would run',
    tags: ['templates'],
    params: TemplateParams,
    body: ref(PreviewRequest),
    response: { 200: ref(Preview), 413: ref(Problem), 415: ref(Problem), ...problems }
  }
} as const satisfies Endpoint
