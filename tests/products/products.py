"""One small product on three frameworks, each as its documentation writes it."""

STACK = """
from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Service, Simple, Stack

stack = Stack(
    "products",
    dns=DNS("products.test", route=Simple()),
    cdn=CDN(), lb=LoadBalancer(redirect_http=True), cache=HTTPCache(), gateway=Gateway(),
    services=[
        Service("django", "site_django:application", interface="wsgi", expose=["/django"]),
        Service("fastapi", "site_fastapi:app", expose=["/fastapi"]),
        Service("express", command=["node", "server.js"], env={"NODE_PATH": "FRAMEWORKS/node_modules"}, expose=["/express"],
                health="/express/health"),
    ],
    zones=["a"],
)
"""

DJANGO = """
import sys
sys.path.insert(0, "FRAMEWORKS/python")

from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50, ALLOWED_HOSTS=["localhost", "products.test"], ROOT_URLCONF=__name__,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies", SESSION_COOKIE_SECURE=True, CSRF_COOKIE_SECURE=True,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SECURE_SSL_REDIRECT=True,
)

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path


def login(request):
    if request.method == "POST":
        request.session["user"] = request.POST["user"]
        return HttpResponseRedirect(request.build_absolute_uri("/django/me/"))
    return HttpResponse(get_token(request))


def me(request):
    return JsonResponse({
        "user": request.session.get("user"), "url": request.build_absolute_uri(), "secure": request.is_secure(),
        "client": request.META["REMOTE_ADDR"], "server": [request.META["SERVER_NAME"], request.META["SERVER_PORT"]],
    })


def upload(request):
    return JsonResponse({"size": request.FILES["file"].size})


def items(request):
    page = int(request.GET.get("page", 1))
    return JsonResponse({"page": page, "next": request.build_absolute_uri(f"?page={page + 1}")})


urlpatterns = [
    path("django/login/", login), path("django/me/", me), path("django/upload/", upload), path("django/items/", items),
]
application = get_wsgi_application()
"""

FASTAPI = """
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import RedirectResponse

app = FastAPI()


@app.get("/fastapi/login")
def form():
    return "token"


@app.post("/fastapi/login")
def login(request: Request):
    answer = RedirectResponse(request.url_for("me"), 303)
    answer.set_cookie("user", "ann", secure=request.url.scheme == "https", httponly=True)
    return answer


@app.get("/fastapi/me/")
def me(request: Request):
    return {
        "user": request.cookies.get("user"), "url": str(request.url), "secure": request.url.scheme == "https",
        "client": request.client.host, "server": list(request.scope["server"]),
    }


@app.post("/fastapi/upload/")
async def upload(request: Request):
    return {"size": len(await request.body())}


@app.get("/fastapi/items/")
def items(request: Request, page: int = 1):
    return {"page": page, "next": str(request.url.include_query_params(page=page + 1))}


@app.websocket("/fastapi/talk")
async def talk(socket: WebSocket):
    await socket.accept()
    await socket.send_text(f"{socket.url}")
    await socket.close()
"""

EXPRESS = """
const express = require('express'), app = express();
app.set('trust proxy', 'loopback');
const at = (request) => `${request.protocol}://${request.get('host')}`;

app.get('/express/health', (request, response) => response.send('ok'));
app.get('/express/login', (request, response) => response.send('token'));
app.post('/express/login', (request, response) => {
    response.cookie('user', 'ann', {secure: request.secure, httpOnly: true});
    response.redirect(303, `${at(request)}/express/me/`);
});
app.get('/express/me/', (request, response) => response.json({
    user: /user=(\\w+)/.exec(request.headers.cookie || '')?.[1] || null, url: at(request) + request.originalUrl,
    secure: request.secure, client: request.ip,
    server: [request.hostname, +request.get('x-forwarded-port')],
}));
app.post('/express/upload/', express.raw({type: () => true, limit: '8mb'}),
    (request, response) => response.json({size: request.body.length}));
app.get('/express/items/', (request, response) => {
    const page = +(request.query.page || 1);
    response.json({page, next: `${at(request)}/express/items/?page=${page + 1}`});
});
app.listen(process.env.PORT, process.env.HOST);
"""
