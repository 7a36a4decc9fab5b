/** Whether a value of an upload input is meant as a URL to fetch: no file's name starts like one. */
export const isInputUrl = (value: string): boolean => /^[a-z][a-z0-9+.-]*:\/\//i.test(value)
