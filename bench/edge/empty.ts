/** What HTTP alone costs in workerd: the body is read, and nothing is done with it. */
export default {
  async fetch(request: Request): Promise<Response> {
    await request.arrayBuffer();
    return new Response("{}", { status: 202, headers: { "Content-Type": "application/json" } });
  },
} satisfies ExportedHandler;
